"""The focal consistency loss, and the ordinal loss that it is added to. This file needs torch alone: copy it freely.

Shapes
    S   scenes of a mini-batch
    F   slices of one scene; the network sees each of them by itself
    n   focal indices, which are the classes (49 in the paper)
    B   samples of any batch; in training B = S * F

Every function takes logits, works with log-probabilities and returns one value per sample or scene, in nats unless it says
otherwise. Nothing is reduced over B or S: training adds ordinal_loss(...).mean() and focal_consistency_loss(...).mean().
bfloat16 and half logits are computed in float32, under autocast too, and the result has the type of the logits. Values and
gradients are finite for float32 logits up to +-1e4; a NaN in the logits gives NaN. An argument of a wrong shape or type
raises ValueError.

The paper is S. Lee, M. Choi, N. Lee, H.-E. Lee, "Stable Autofocus with Focal Consistency Loss", WACV 2025. Its main text was
not available here: what its supplement does not state is inferred, and the docstrings say where.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

LN2 = math.log(2.0)


def ordinal_loss(logits: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy with soft labels, which fall with the distance from the true focal index g.

        loss = -sum_k y_k log p_k,    y = softmax_k(-(k - g)^2 / T)

    Diaz and Marathe (CVPR 2019) proposed these labels, and the paper trains every network with them (supplement A). It does
    not state T: other implementations use 1.

    Args: logits (B, n); target (B,), integers g in 0..n-1; temperature T > 0, in squared index steps.
    Returns: (B,); never below the entropy of y.
    Raises: ValueError also for a temperature that is not positive, or a target out of range (see `out_of_range`).
    """
    wide = _wide(logits, "(B, n)")
    samples, n = logits.shape
    integer = not (target.is_floating_point() or target.is_complex() or target.dtype == torch.bool)
    if target.shape != (samples,) or not integer:
        raise ValueError(
            f"target must hold one integer focal index for each of the {samples} samples, got {_describe(target)}"
        )
    if wrong := out_of_range(target, n - 1):
        raise ValueError(f"target must lie in 0..{n - 1}, got {wrong}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    k = torch.arange(n, device=logits.device)
    distance = (k - target.long()[:, None]).to(wide.dtype)  # (B, n)
    soft_target = (-distance.square() / temperature).softmax(-1)
    return -(soft_target * wide.log_softmax(-1)).sum(-1).to(logits.dtype)


def kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence: the mean of log p - log q under p.

        KL(p||q) = sum_k p_k (log p_k - log q_k)  >= 0, up to rounding

    Args: p_logits and q_logits (..., n), finite; the leading axes broadcast.
    Returns: (...).

    >>> certain, undecided = torch.tensor([50.0, 0.0]), torch.tensor([0.0, 0.0])
    >>> f"{kl(certain, undecided):.3f} one way, {kl(undecided, certain):.3f} the other"
    '0.693 one way, 24.307 the other'
    """
    log_p, log_q, dtype = _log_probabilities(p_logits, q_logits)
    # Where p underflows to 0 both logarithms are still finite, so the product is 0 and never 0 * inf.
    return (log_p.exp() * (log_p - log_q)).sum(-1).to(dtype)


def jeffreys(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """Jeffreys divergence: KL in both directions, added without a factor 1/2. Eq. (3), named in supplement B.

        J(p, q) = KL(p||q) + KL(q||p) = sum_k (p_k - q_k) (log p_k - log q_k)  >= 0

    It has no upper bound. Arguments and result as for `kl`.
    """
    log_p, log_q, dtype = _log_probabilities(p_logits, q_logits)
    # Both factors have the same sign, so no term is negative, and agreement gives exactly 0.
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1).to(dtype)


def jensen_shannon(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """Jensen-Shannon divergence: at most ln 2, about J/8 near agreement. Eq. (1) of supplement B.

        JSD(p, q) = 1/2 KL(p||m) + 1/2 KL(q||m)  >= 0,    m = (p + q) / 2

    Arguments and result as for `kl`.
    """
    log_p, log_q, dtype = _log_probabilities(p_logits, q_logits)
    m = (log_p.exp() + log_q.exp()) / 2  # no probability is clamped: the tails keep their gradient
    d = log_p - log_q
    # Near agreement p log(p/m) and q log(q/m) cancel, and rounding may leave a sum below 0. Instead, with t = tanh(d/2) and
    # e = exp(-|d|), JSD = sum_k m_k h(d_k), where h >= 0 has two forms:
    #     h(d) = (d t + log(1 - t^2)) / 2, exact near 0,    h(d) = ln 2 - log(1 + e) - |d| e / (1 + e), exact far from it
    near, far = d.clamp(-1, 1), d.abs()  # `where` needs finite gradients of both forms
    t, e = (near / 2).tanh(), (-far).exp()
    h = torch.where(far < 1, (near * t + (-t.square()).log1p()) / 2, LN2 - e.log1p() - far * e / (1 + e))
    return (m * h).sum(-1).clamp(max=LN2).to(dtype)  # only rounding exceeds ln 2, where the gradient is 0


def pairwise(divergence: Callable[[Tensor, Tensor], Tensor], logits: Tensor) -> Tensor:
    """Sum of a symmetric divergence over the F(F-1)/2 unordered pairs of slices of a scene (supplement E).

        sum_{i<j} D(p(f_i), p(f_j))

    Args: divergence, a function like `jeffreys` of two tensors (..., n); logits (S, F, n).
    Returns: (S,); 0 for F = 1.
    """
    wide = _wide(logits, "(S, F, n)")
    slices = logits.shape[1]
    i, j = torch.triu_indices(slices, slices, offset=1, device=logits.device)
    return divergence(wide[:, i], wide[:, j]).sum(-1).to(logits.dtype)  # (S, pairs) -> (S,)


def mean_standard_deviation(logits: Tensor) -> Tensor:
    """Standard deviation, over the F slices of a scene, of the expected focal position.

        MSD = sqrt(1/F sum_i (mu_i - mean mu)^2),    mu_i = sum_k k/(n-1) p_k(f_i)  in [0, 1]

    The supplement (E) says only that it is the standard deviation of the set. Inferred here: it is that of the expected
    index, since it must be differentiable, and the index is scaled to [0, 1].

    Args: logits (S, F, n).
    Returns: (S,), from 0 to 1/2, without unit. At zero spread, and so for F = 1, both value and gradient are 0.
    """
    wide = _wide(logits, "(S, F, n)")
    position = torch.linspace(0, 1, logits.shape[-1], device=logits.device, dtype=wide.dtype)
    expected = (wide.softmax(-1) * position).sum(-1)  # (S, F)
    # Half the mean square difference over all pairs is the variance. It is exactly 0 when all agree, while the mean of equal
    # numbers may differ from them by rounding.
    difference = expected[:, :, None] - expected[:, None, :]  # (S, F, F)
    variance = difference.square().mean((1, 2)) / 2
    # The slope of the root at 0 is infinite, and 0 * inf is NaN: there, take the root of 1 and discard it.
    agree = variance == 0
    return variance.masked_fill(agree, 1.0).sqrt().masked_fill(agree, 0.0).to(logits.dtype)


def focal_consistency_loss(
    logits: Tensor, lambda_msd: float = 0.0, lambda_kld: float = 0.0, lambda_jsd: float = 0.0
) -> Tensor:
    """How much the predictions of a scene disagree: Eq. (9) without its ordinal loss.

        lambda_msd MSD  +  lambda_kld 1/n sum_{i<j} J_ij  +  lambda_jsd 1/n sum_{i<j} JSD_ij

    The last term is the alternative of supplement B. The division by n is inferred, like the scale of MSD: without both, the
    published weights (4, 4) would make this term far larger than the ordinal loss of one or two nats.

    Args: logits (S, F, n) and the three weights.
    Returns: (S,); 0 for F = 1.

    >>> agreeing, torn = torch.zeros(1, 4, 49), torch.zeros(1, 4, 49)
    >>> torn[0, :2, 0] = torn[0, 2:, 48] = 9.0  # two slices say far, two say near
    >>> focal_consistency_loss(torch.cat([agreeing, torn]), lambda_msd=4, lambda_kld=4)
    tensor([0.0000, 7.8302])
    """
    wide, n = _wide(logits, "(S, F, n)"), logits.shape[-1]
    msd = mean_standard_deviation(wide)
    kld, jsd = pairwise(jeffreys, wide) / n, pairwise(jensen_shannon, wide) / n
    return (lambda_msd * msd + lambda_kld * kld + lambda_jsd * jsd).to(logits.dtype)


def out_of_range(integers: Tensor, last: int) -> str:
    """`values from a to b` if an integer is outside 0..last, else an empty string.

    Nothing is checked on a GPU, where each step would wait for it, nor while torch compiles, exports or vectorises (vmap),
    where there are no values yet: there, the caller makes sure.
    """
    if integers.device.type != "cpu" or torch.compiler.is_compiling():
        return ""
    try:
        values = integers.tolist()  # Python's integers don't wrap
        least, greatest = min(values, default=0), max(values, default=0)
    except RuntimeError:  # torch.func.vmap and fake tensors
        return ""
    return "" if 0 <= least and greatest <= last else f"values from {least} to {greatest}"


def _describe(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"


def _wide(logits: Tensor, shape: str) -> Tensor:
    """The logits in float32 or wider. ValueError for other axes than those of `shape`; only the first may be empty."""
    if not logits.is_floating_point() or logits.dim() != shape.count(",") + 1 or 0 in logits.shape[1:]:
        raise ValueError(f"logits must be floating point of shape {shape}, got {_describe(logits)}")
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _log_probabilities(p_logits: Tensor, q_logits: Tensor) -> tuple[Tensor, Tensor, torch.dtype]:
    """Logarithms of p and q, in float32 or wider, and the type of the result."""
    floating = p_logits.is_floating_point() and q_logits.is_floating_point()
    if not floating or p_logits.shape[-1:] != q_logits.shape[-1:]:
        raise ValueError(
            "p_logits and q_logits must be floating point with the same n on the last axis, "
            f"got {_describe(p_logits)} and {_describe(q_logits)}"
        )
    dtype = torch.promote_types(p_logits.dtype, q_logits.dtype)
    wide = torch.promote_types(dtype, torch.float32)
    return p_logits.to(wide).log_softmax(-1), q_logits.to(wide).log_softmax(-1), dtype
