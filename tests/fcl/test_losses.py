"""The losses against SciPy, closed forms, double loops and finite differences, and at the extremes."""

import ast
import doctest
import itertools
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr, softmax

from fcl import losses
from fcl.losses import focal_consistency_loss, jeffreys, jensen_shannon, kl, mean_standard_deviation, ordinal_loss, pairwise

DIVERGENCES = [kl, jeffreys, jensen_shannon]
CONSISTENCY = [
    mean_standard_deviation,
    lambda logits: pairwise(kl, logits),
    lambda logits: pairwise(jeffreys, logits),
    lambda logits: pairwise(jensen_shannon, logits),
    lambda logits: focal_consistency_loss(logits, 4.0, 4.0, 32.0),
]
LOSSES = [*CONSISTENCY, lambda logits: ordinal_loss(logits[:, 0], torch.arange(len(logits)))]


def draw(*shape, seed=0, scale=3.0, dtype=torch.float64):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def with_gradient(loss, *tensors):
    """The value of `loss`, and the gradient of its sum with respect to each tensor."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    value = loss(*leaves)
    return value.detach(), torch.autograd.grad(value.sum(), leaves)


def relative_error(tensor, exact):
    return ((tensor.double() - exact).norm() / exact.norm()).item()


def bell(g, n=401, temperature=2.0):
    """Logits of softmax(-(k - g)^2 / T): a discrete normal of variance T/2 around g, away from the ends."""
    return -((torch.arange(n, dtype=torch.float64) - g) ** 2) / temperature


# Values


def test_divergences_are_scipys():
    p_logits, q_logits = draw(5, 7, 49, seed=1), draw(5, 7, 49, seed=2)
    p, q = softmax(p_logits.numpy(), -1), softmax(q_logits.numpy(), -1)
    np.testing.assert_allclose(kl(p_logits, q_logits), rel_entr(p, q).sum(-1), rtol=1e-12)
    both = (rel_entr(p, q) + rel_entr(q, p)).sum(-1)
    np.testing.assert_allclose(jeffreys(p_logits, q_logits), both, rtol=1e-12)
    squared = jensenshannon(p, q, axis=-1) ** 2  # SciPy has the distance, the root of the divergence
    np.testing.assert_allclose(jensen_shannon(p_logits, q_logits), squared, rtol=1e-12)


def test_kl_has_a_direction():
    p, q = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.9, 0.1]).log()
    assert kl(p, q).item() == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1))
    assert kl(q, p).item() == pytest.approx(0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_two_bells_k_apart_have_the_closed_forms(k, temperature):
    p, q = bell(200, temperature=temperature), bell(200 + k, temperature=temperature)
    assert kl(p, q).item() == pytest.approx(k**2 / temperature, rel=1e-10)
    assert jeffreys(p, q).item() == pytest.approx(2 * k**2 / temperature, rel=1e-10)


def test_near_agreement_jensen_shannon_is_an_eighth_of_jeffreys():
    p = draw(20, 49)
    q = p + draw(20, 49, seed=1, scale=1e-3)
    torch.testing.assert_close(jensen_shannon(p, q), jeffreys(p, q) / 8, rtol=1e-3, atol=0)


def test_jensen_shannon_reaches_ln2_and_never_passes_it():
    apart = torch.tensor([[1e4, 0.0, 0.0], [0.0, 1e4, 0.0]])
    assert jensen_shannon(*apart).item() == pytest.approx(math.log(2), abs=1e-7)
    p, q = draw(2, 2000, 49, scale=300, dtype=torch.float32)
    assert (jensen_shannon(p, q) <= math.log(2)).all()


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_divergences_are_zero_only_at_agreement(divergence):
    logits = draw(10, 49, dtype=torch.float32)
    shifted = logits + draw(10, 1, seed=1, dtype=torch.float32)  # a constant changes no probability
    torch.testing.assert_close(divergence(logits, shifted), torch.zeros(10), rtol=0, atol=1e-6)
    assert (divergence(logits, logits.flip(-1)) > 0.1).all()


@pytest.mark.parametrize("divergence", [jeffreys, jensen_shannon])
def test_divergences_are_accurate_where_predictions_nearly_agree(divergence):
    p = draw(20, 49, dtype=torch.float32)
    q = p + draw(20, 49, seed=1, scale=1e-3, dtype=torch.float32)
    value, gradients = with_gradient(divergence, p, q)
    exact, exact_gradients = with_gradient(divergence, p.double(), q.double())
    torch.testing.assert_close(value.double(), exact, rtol=2e-3, atol=0)
    for gradient, exact_gradient in zip(gradients, exact_gradients):
        assert relative_error(gradient, exact_gradient) < 2e-3
    assert (divergence(p, p) == 0).all()


def test_symmetric_divergences_are_never_negative_so_they_have_a_root():
    p = draw(20_000, 49, dtype=torch.float32)
    for scale in (1e-8, 1e-7, 1e-6, 1e-4):
        q = p + draw(20_000, 49, seed=1, scale=scale, dtype=torch.float32)
        assert (jensen_shannon(p, q) >= 0).all() and (jeffreys(p, q) >= 0).all()
    distance, (gradient, _) = with_gradient(lambda p, q: jensen_shannon(p, q).sqrt(), p, q)
    exact, (exact_gradient, _) = with_gradient(lambda p, q: jensen_shannon(p, q).sqrt(), p.double(), q.double())
    assert relative_error(distance, exact) < 1e-2 and relative_error(gradient, exact_gradient) < 1e-2


def test_leading_axes_broadcast():
    one, many = draw(49), draw(3, 4, 49, seed=1)
    for divergence in DIVERGENCES:
        torch.testing.assert_close(divergence(one, many), divergence(one.expand(3, 4, 49), many))
        assert divergence(one, one).shape == ()


@pytest.mark.parametrize("slices", [1, 2, 3, 4, 8])
def test_pairwise_is_the_double_loop(slices):
    logits = draw(3, slices, 49)
    for divergence in DIVERGENCES:
        expected = torch.zeros(3, dtype=torch.float64)
        for scene in range(3):
            for i, j in itertools.combinations(range(slices), 2):
                expected[scene] += divergence(logits[scene, i], logits[scene, j])
        torch.testing.assert_close(pairwise(divergence, logits), expected)


@pytest.mark.parametrize("slices", [2, 3, 4, 8])
def test_mean_standard_deviation_is_numpys(slices):
    logits = draw(6, slices, 49)
    expected = (softmax(logits.numpy(), -1) @ (np.arange(49) / 48)).std(axis=1)
    np.testing.assert_allclose(mean_standard_deviation(logits), expected, rtol=1e-12)


def test_mean_standard_deviation_of_certain_predictions():
    logits = torch.full((1, 4, 49), -1e4)
    logits[0, [0, 1, 2, 3], [0, 0, 48, 48]] = 0.0
    assert mean_standard_deviation(logits).item() == 0.5


def test_focal_consistency_loss_is_its_equation():
    logits = draw(6, 4, 49)
    expected = (
        4 * mean_standard_deviation(logits)
        + 3 * pairwise(jeffreys, logits) / 49
        + 32 * pairwise(jensen_shannon, logits) / 49
    )
    found = focal_consistency_loss(logits, lambda_msd=4, lambda_kld=3, lambda_jsd=32)
    torch.testing.assert_close(found, expected)
    assert (focal_consistency_loss(logits) == 0).all()


@pytest.mark.parametrize("loss", CONSISTENCY[:1] + CONSISTENCY[2:])
def test_the_order_of_the_slices_does_not_matter(loss):
    logits = draw(5, 4, 49)
    for order in itertools.permutations(range(4)):
        torch.testing.assert_close(loss(logits[:, order]), loss(logits))


@pytest.mark.parametrize("loss", CONSISTENCY)
def test_one_slice_is_consistent_with_itself(loss):
    value, (gradient,) = with_gradient(loss, draw(5, 1, 49))
    assert value.shape == (5,) and (value == 0).all() and (gradient == 0).all()


def test_ordinal_loss_is_the_cross_entropy_with_soft_labels():
    logits, target = draw(49, 49), torch.arange(49)
    for temperature in (0.5, 1.0, 4.0):
        labels = softmax(-((np.arange(49) - np.arange(49)[:, None]) ** 2) / temperature, axis=-1)
        expected = -(labels * np.log(softmax(logits.numpy(), -1))).sum(-1)
        np.testing.assert_allclose(ordinal_loss(logits, target, temperature), expected, rtol=1e-12)


def test_ordinal_loss_is_least_at_the_soft_labels_themselves():
    target = torch.tensor([24])
    labels = bell(24, n=49, temperature=1.0)[None].softmax(-1)
    entropy = -(labels * labels.clamp_min(1e-300).log()).sum().item()
    value, (gradient,) = with_gradient(lambda logits: ordinal_loss(logits, target), bell(24, 49, 1.0)[None])
    assert value.item() == pytest.approx(entropy)
    assert gradient.abs().max() < 1e-12


def test_ordinal_loss_tends_to_cross_entropy_as_the_temperature_falls():
    logits, target = draw(8, 49), torch.tensor([0, 1, 5, 24, 24, 40, 47, 48])
    expected = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(ordinal_loss(logits, target, temperature=1e-3), expected)


INTEGERS = [getattr(torch, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_ordinal_loss_takes_any_integer_target_and_any_number_of_indices(dtype):
    logits, target = draw(3, 70_000), torch.tensor([0, 20, min(torch.iinfo(dtype).max, 69_999)])
    torch.testing.assert_close(ordinal_loss(logits, target.to(dtype)), ordinal_loss(logits, target))


# Gradients and extremes


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_gradients_of_the_divergences_are_finite_differences(divergence):
    p, q = draw(3, 9).requires_grad_(), draw(3, 9, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(divergence, (p, q))


@pytest.mark.parametrize("loss", CONSISTENCY + [lambda x: ordinal_loss(x[:, 0], 4 * torch.arange(len(x)))])
def test_gradients_of_the_losses_are_finite_differences(loss):
    assert torch.autograd.gradcheck(loss, (draw(3, 4, 9).requires_grad_(),))


def extremes():
    """Scenes of four slices with logits up to +-1e4: certain, agreeing or not; flat; underflowing; random."""
    n, scenes = 49, []
    for indices in ((0, 0, 0, 0), (0, 48, 0, 48), (24, 24, 24, 25)):
        scene = torch.full((4, n), -1e4)
        scene[range(4), indices] = 1e4
        scenes.append(scene)
    scenes += [torch.zeros(4, n), torch.full((4, n), 1e4)]
    slope = torch.linspace(-1e4, 1e4, n)
    scenes += [slope.expand(4, n), torch.stack([slope, -slope, *torch.zeros(2, n)])]
    scenes += list(draw(20, 4, n, scale=1e4, dtype=torch.float32).clamp(-1e4, 1e4))
    return torch.stack(scenes)


@pytest.mark.parametrize("loss", LOSSES)
def test_values_and_gradients_stay_finite_at_the_extremes(loss):
    value, (gradient,) = with_gradient(loss, extremes())
    exact, (exact_gradient,) = with_gradient(loss, extremes().double())
    assert value.isfinite().all() and gradient.isfinite().all()
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=1e-4, atol=1e-3)


def test_the_tails_keep_their_gradient():
    """A class whose p is too small for float32 is still pulled up by Jeffreys: it is q that weighs it."""
    p, q = torch.tensor([0.0, -200.0]), torch.tensor([0.0, 0.0])
    for divergence in (jeffreys, jensen_shannon):
        _, (gradient, _) = with_gradient(divergence, p, q)
        exact = with_gradient(divergence, p.double(), q.double())[1][0]
        torch.testing.assert_close(gradient.double(), exact, rtol=1e-5, atol=1e-7)
    assert with_gradient(jeffreys, p, q)[1][0][1] < -0.4


@pytest.mark.parametrize("slices", [1, 2, 3, 4, 7, 8])
def test_zero_spread_has_zero_value_and_zero_gradient(slices):
    logits = draw(50, 1, 49, dtype=torch.float32).repeat(1, slices, 1)
    value, (gradient,) = with_gradient(mean_standard_deviation, logits)
    assert (value == 0).all() and (gradient == 0).all()


def test_a_tiny_spread_is_exact():
    """No epsilon under the root: at 1e-9 of the range, value and gradient are as exact as at any spread."""
    logits = draw(1, 2, 49).contiguous()
    logits[0, 1] = logits[0, 0]
    logits[0, 1, 10] += 1e-9
    value, (gradient,) = with_gradient(mean_standard_deviation, logits)
    p = softmax(logits[0, 0].numpy())
    slope = p[10] * (10 - p @ np.arange(49)) / 48 / 2  # d sigma / d logit, sigma = |mu_1 - mu_0| / 2
    assert value.item() == pytest.approx(abs(slope) * 1e-9, rel=1e-5)
    assert gradient[0, 1, 10].item() == pytest.approx(abs(slope), rel=1e-5)


@pytest.mark.parametrize("loss", CONSISTENCY)
def test_a_nan_is_not_hidden_and_stays_in_its_scene(loss):
    logits = draw(3, 4, 49)
    logits[1, 2, 5] = math.nan
    assert loss(logits).isnan().tolist() == [False, True, False]
    assert mean_standard_deviation(logits[:, 2:3]).isnan().tolist() == [False, True, False]
    assert ordinal_loss(logits[:, 2], torch.tensor([0, 1, 2])).isnan().tolist() == [False, True, False]


# Half precision; compiled, exported, vectorised


@pytest.mark.parametrize("noise", [0.03, 1.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_costs_no_more_than_rounding_the_result(loss, dtype, noise):
    logits = (draw(20, 1, 49) + draw(20, 4, 49, seed=1, scale=noise)).to(dtype)
    exact, (exact_gradient,) = with_gradient(loss, logits.double())
    with torch.autocast("cpu", dtype):
        for value, (gradient,) in (with_gradient(loss, logits), with_gradient(loss, logits.float())):
            assert relative_error(value, exact) < 1e-2 and relative_error(gradient, exact_gradient) < 1e-2


class Objective(torch.nn.Module):
    def forward(self, logits, target):
        return ordinal_loss(logits[:, 0], target) + focal_consistency_loss(logits, 4.0, 4.0, 32.0)


def test_one_graph_holds_the_losses_and_their_gradient():
    torch.compiler.reset()
    compiled = torch.compile(Objective(), backend="eager", fullgraph=True, dynamic=True)
    for scenes, slices in ((5, 4), (7, 3)):
        logits, target = draw(scenes, slices, 49), torch.arange(scenes)
        value, (gradient,) = with_gradient(partial(compiled, target=target), logits)
        expected, (expected_gradient,) = with_gradient(partial(Objective(), target=target), logits)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(gradient, expected_gradient)


def test_the_losses_are_exported_for_any_number_of_scenes():
    dynamic = {0: torch.export.Dim("scenes")}
    arguments = draw(3, 4, 49), torch.tensor([0, 20, 48])
    exported = torch.export.export(Objective(), arguments, dynamic_shapes=(dynamic, dynamic)).module()
    for scenes in (1, 3, 8):
        arguments = draw(scenes, 4, 49, seed=1), torch.arange(scenes)
        torch.testing.assert_close(exported(*arguments), Objective()(*arguments))


def test_gradients_per_scene_are_those_of_a_loop():
    logits, target = draw(5, 4, 49), torch.tensor([0, 1, 20, 47, 48])
    gradient = torch.func.grad(lambda logits, target: Objective()(logits[None], target[None])[0])
    looped = torch.stack([gradient(*scene) for scene in zip(logits, target)])
    torch.testing.assert_close(torch.func.vmap(gradient)(logits, target), looped)


# Shapes and errors


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_one_value_per_scene_or_sample_in_the_type_of_the_logits(dtype):
    logits = draw(5, 4, 49).to(dtype)
    for loss in CONSISTENCY:
        assert loss(logits).shape == (5,) and loss(logits).dtype == dtype
    assert ordinal_loss(logits[:, 0], torch.zeros(5, dtype=torch.long)).shape == (5,)
    assert kl(logits, logits).shape == (5, 4)


@pytest.mark.parametrize(
    "target, message",
    [
        (torch.tensor([0, 49, 1]), r"0\.\.48, got values from 0 to 49"),
        (torch.tensor([0, -1, 1]), r"0\.\.48, got values from -1 to 1"),
        (torch.tensor([0, 2**63 + 5, 1], dtype=torch.uint64), f"got values from 0 to {2**63 + 5}"),
        (torch.tensor([0.0, 1.0, 2.0]), "integer focal index for each of the 3 samples, got torch.float32"),
        (torch.tensor([True, False, True]), "got torch.bool"),
        (torch.tensor([[0], [1], [2]]), r"shape \(3, 1\)"),
        (torch.tensor([0, 1]), r"shape \(2,\)"),
    ],
)
def test_wrong_targets_are_refused(target, message):
    with pytest.raises(ValueError, match=message):
        ordinal_loss(draw(3, 49), target)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be positive"):
        ordinal_loss(draw(3, 49), torch.tensor([0, 1, 2]), temperature)


@pytest.mark.parametrize(
    "logits",
    [
        torch.zeros(4, 49),
        torch.zeros(1, 2, 4, 49),
        torch.zeros(2, 4, 0),
        torch.zeros(2, 0, 49),
        torch.zeros(2, 4, 49, dtype=torch.long),
    ],
)
@pytest.mark.parametrize("loss", CONSISTENCY)
def test_wrong_logits_are_refused(loss, logits):
    with pytest.raises(ValueError, match=r"logits must be floating point of shape \(S, F, n\), got torch"):
        loss(logits)


def test_other_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"shape \(B, n\), got torch.float64 of shape \(2, 3, 49\)"):
        ordinal_loss(draw(2, 3, 49), torch.tensor([0, 1]))
    for divergence in DIVERGENCES:
        with pytest.raises(ValueError, match="the same n on the last axis"):
            divergence(draw(3, 49), draw(3, 1))
        with pytest.raises(ValueError, match="must be floating point"):
            divergence(draw(3, 49), torch.zeros(3, 49, dtype=torch.long))


def test_the_file_can_be_lifted():
    imported = set()
    for node in ast.walk(ast.parse(Path(losses.__file__).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported == {"math", "collections.abc", "torch"}  # torch and the standard library


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(losses).failed == 0
