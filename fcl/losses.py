"""The focal consistency loss, and the ordinal loss it joins. It needs torch alone: copy this file freely.

Shapes
    S   scenes of a mini-batch
    F   slices observed of one scene: the network sees each of them by itself
    n   focal indices, which are the classes (49 in the paper)
    B   samples of any batch; in training B = S * F

Every function takes logits, works with log-probabilities and returns one value per sample or scene. Nothing
is reduced over B or S: training adds ordinal_loss(...).mean() and focal_consistency_loss(...).mean(). The
divergences are in nats. Values and gradients are finite for logits up to +-1e4 in float32, and a NaN that
goes in comes out. An argument of a wrong shape or type raises ValueError.

The paper is S. Lee, M. Choi, N. Lee, H.-E. Lee, "Stable Autofocus with Focal Consistency Loss", WACV 2025.
Its main text was not available here: what its supplement does not state is inferred, and marked so.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

LN2 = math.log(2.0)


def ordinal_loss(logits: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy with a target that fades with the distance to the true focal index g.

        loss = -sum_k y_k log p_k,    y = softmax_k(-(k - g)^2 / T)

    The soft labels of Diaz and Marathe (CVPR 2019), with which the paper trains every network (supplement A).
    That T = 1 is known from re-implementations only.

    Args: logits (B, n); target (B,), integers g in 0..n-1; temperature T > 0, in squared index steps.
    Returns: (B,), in nats; never below the entropy of y.
    Raises: ValueError also for a target out of range (on the CPU), or a temperature that is not positive.
    """
    _require_logits(logits, "(B, n)")
    samples, n = logits.shape
    integer = not (target.is_floating_point() or target.is_complex() or target.dtype == torch.bool)
    if target.shape != (samples,) or not integer:
        raise ValueError(
            f"target must hold one integer focal index for each of the {samples} samples, got {_describe(target)}"
        )
    # To look at values on a GPU would make each step wait for it: there, that they are right is the caller's promise.
    if target.device.type == "cpu" and ((target < 0) | (target >= n)).any():
        raise ValueError(f"target must lie in 0..{n - 1}, got values from {target.min()} to {target.max()}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    k = torch.arange(n, device=logits.device)
    distance = (k - target[:, None]).to(logits.dtype)  # (B, n)
    soft_target = (-distance.square() / temperature).softmax(-1)
    return -(soft_target * logits.log_softmax(-1)).sum(-1)


def kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence of p from q, in this direction.

        KL(p||q) = sum_k p_k (log p_k - log q_k)  >= 0, up to rounding

    Args: p_logits and q_logits (..., n), finite; the leading axes broadcast.
    Returns: (...), in nats.

    >>> certain, undecided = torch.tensor([50.0, 0.0]), torch.tensor([0.0, 0.0])
    >>> f"{kl(certain, undecided):.3f} one way, {kl(undecided, certain):.3f} the other"
    '0.693 one way, 24.307 the other'
    """
    log_p, log_q = _log_probabilities(p_logits, q_logits)
    # Where p underflows to 0 both logarithms are still finite, so the product is 0 and never 0 * inf.
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def jeffreys(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """Jeffreys divergence: both directions added, without a factor 1/2. Eq. (3), named in supplement B.

        J(p, q) = KL(p||q) + KL(q||p) = sum_k (p_k - q_k) (log p_k - log q_k)  >= 0

    It has no upper bound. Arguments and result as for `kl`.
    """
    log_p, log_q = _log_probabilities(p_logits, q_logits)
    # The two factors have one sign, so no term is negative, and agreement gives exactly 0.
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1)


def jensen_shannon(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """Jensen-Shannon divergence: at most ln 2, about J/8 near agreement. Eq. (1) of supplement B.

        JSD(p, q) = 1/2 KL(p||m) + 1/2 KL(q||m),    m = (p + q) / 2

    Arguments and result as for `kl`.
    """
    log_p, log_q = _log_probabilities(p_logits, q_logits)
    log_m = torch.logaddexp(log_p, log_q) - LN2  # no probability is clamped: the tails keep their gradient
    p_from_m = (log_p.exp() * (log_p - log_m)).sum(-1)
    q_from_m = (log_q.exp() * (log_q - log_m)).sum(-1)
    return ((p_from_m + q_from_m) / 2).clamp(max=LN2)  # only rounding goes beyond, where the gradient is 0


def pairwise(divergence: Callable[[Tensor, Tensor], Tensor], logits: Tensor) -> Tensor:
    """Sum of a symmetric divergence over the F(F-1)/2 unordered pairs of slices of a scene (supplement E).

        sum_{i<j} D(p(f_i), p(f_j))

    Args: divergence, a function like `jeffreys` of two tensors (..., n); logits (S, F, n).
    Returns: (S,), in nats; 0 for F = 1.
    """
    _require_logits(logits, "(S, F, n)")
    slices = logits.shape[1]
    i, j = torch.triu_indices(slices, slices, offset=1, device=logits.device)
    return divergence(logits[:, i], logits[:, j]).sum(-1)  # (S, pairs) -> (S,)


def mean_standard_deviation(logits: Tensor) -> Tensor:
    """Standard deviation, over the F slices of a scene, of the expected focal position.

        MSD = sqrt(1/F sum_i (mu_i - mean mu)^2),    mu_i = sum_k k/(n-1) p_k(f_i)  in [0, 1]

    The supplement (E) says no more than: the standard deviation of the set. Inferred here: that it is taken
    of the expected index, as it must be differentiable, and that this is scaled to [0, 1].

    Args: logits (S, F, n).
    Returns: (S,), from 0 to 1/2. At zero spread, and so for F = 1, both value and gradient are 0.
    """
    _require_logits(logits, "(S, F, n)")
    position = torch.linspace(0, 1, logits.shape[-1], device=logits.device, dtype=logits.dtype)
    expected = (logits.softmax(-1) * position).sum(-1)  # (S, F)
    # Half the mean square difference over all pairs is the variance, and it is exactly 0 when all agree:
    # the mean of equal numbers may differ from them by rounding.
    difference = expected[:, :, None] - expected[:, None, :]  # (S, F, F)
    variance = difference.square().mean((1, 2)) / 2
    # The slope of the root at 0 is infinite and 0 * inf is NaN: there, take the root of 1 and discard it.
    agree = variance == 0
    return variance.masked_fill(agree, 1.0).sqrt().masked_fill(agree, 0.0)


def focal_consistency_loss(
    logits: Tensor, lambda_msd: float = 0.0, lambda_kld: float = 0.0, lambda_jsd: float = 0.0
) -> Tensor:
    """What a scene's predictions cost for disagreeing: Eq. (9) without its ordinal loss.

        lambda_msd MSD  +  lambda_kld 1/n sum_{i<j} J_ij  +  lambda_jsd 1/n sum_{i<j} JSD_ij

    The last term is the alternative of supplement B. The division by n is inferred, like the scale of MSD:
    without the two, the published weights (4, 4) would swamp the ordinal loss of one or two nats.

    Args: logits (S, F, n) and the three weights.
    Returns: (S,); 0 for F = 1.

    >>> agreeing, torn = torch.zeros(1, 4, 49), torch.zeros(1, 4, 49)
    >>> torn[0, :2, 0] = torn[0, 2:, 48] = 9.0  # two slices say far, two say near
    >>> focal_consistency_loss(torch.cat([agreeing, torn]), lambda_msd=4, lambda_kld=4)
    tensor([0.0000, 7.8302])
    """
    msd = mean_standard_deviation(logits)
    n = logits.shape[-1]
    kld, jsd = pairwise(jeffreys, logits) / n, pairwise(jensen_shannon, logits) / n
    return lambda_msd * msd + lambda_kld * kld + lambda_jsd * jsd


def _describe(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"


def _require_logits(logits: Tensor, shape: str) -> None:
    """Raise ValueError unless there are as many axes as letters in `shape`, and only the first may be empty."""
    if not logits.is_floating_point() or logits.dim() != shape.count(",") + 1 or 0 in logits.shape[1:]:
        raise ValueError(f"logits must be floating point of shape {shape}, got {_describe(logits)}")


def _log_probabilities(p_logits: Tensor, q_logits: Tensor) -> tuple[Tensor, Tensor]:
    floating = p_logits.is_floating_point() and q_logits.is_floating_point()
    if not floating or p_logits.shape[-1:] != q_logits.shape[-1:]:
        raise ValueError(
            "p_logits and q_logits must be floating point with the same n on the last axis, "
            f"got {_describe(p_logits)} and {_describe(q_logits)}"
        )
    return p_logits.log_softmax(-1), q_logits.log_softmax(-1)
