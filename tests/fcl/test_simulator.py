"""The simulator against physics: spots, edges, flat fields, and a slow renderer (tests/direct.py)."""

import direct
import numpy as np
import pytest
import torch
from scipy.special import ndtr

from fcl import optics, simulator
from fcl.scenes import MARGIN, Scene, make_scene
from fcl.simulator import SceneBatch, expose, render, simulate_stacks
from fcl.stacks import FocalStacks

FOCUS = optics.FOCUS_DIOPTRES


def world(layers, dioptres, position=(0.0, 0.0), patch=64, noise=(0.0, 0.0)):
    """A scene from (radiance, opacity) arrays (h, w), far to near."""
    radiance, opacity = (np.stack(part).astype(np.float32) for part in zip(*layers))
    return Scene(radiance, opacity, np.float32(dioptres), np.float32(position), noise, "plain", patch)


def shine(scene, indices, breathing=0.0):
    """Light (k, 2, h, w) of one scene at focal indices, float64."""
    return render(SceneBatch([scene]), torch.tensor([indices]), breathing)[0].double().numpy()


def centroid_x(image):
    return image.sum(-2) @ (np.arange(image.shape[-1]) - image.shape[-1] // 2) / image.sum((-2, -1))


def blob(shape=(48, 96), sigma=1.5):
    """A round spot, smooth enough for the sampling grid."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-(((x - shape[1] // 2) ** 2 + 4 * (y - shape[0] // 2) ** 2) / (2 * sigma**2)))


def test_left_right_shift_of_a_spot_through_focus():
    """Zero in focus; s r/2 on both sides; the left image of an object nearer than focus lies at +x."""
    scene = world([(blob(sigma=1.0), np.ones((48, 96)))], [FOCUS[24]])
    indices = [12, 18, 22, 24, 26, 30, 36]
    left, right = centroid_x(shine(scene, indices)).T
    radius = np.array([direct.traced_blur(FOCUS[24], FOCUS[k]) for k in indices]) / 2
    assert (radius[:3] > 0.8).all() and (radius[4:] < -0.7).all()
    assert left - right == pytest.approx(0.98 * radius / 2, abs=0.03)
    assert abs(left - right)[3] < 1e-3
    assert (left[:3] > 0.15).all() and (right[:3] < -0.15).all()
    assert (left[4:] < -0.15).all() and (right[4:] > 0.15).all()


@pytest.mark.parametrize("position", [(0.0, 0.0), (-0.6, 0.7)])
def test_energy_is_kept(position):
    radiance = np.random.default_rng(0).uniform(0.2, 1.0, (48, 96))
    light = shine(world([(radiance, np.ones_like(radiance))], [5.0], position), range(49))
    expected = np.float32(radiance).mean() * direct.gains(position)
    assert light.mean((2, 3)) == pytest.approx(np.broadcast_to(expected, (49, 2)), rel=1e-5)
    assert light[0].std() < light[24].std()


def test_render_agrees_with_the_slow_renderer():
    """Three layers with occlusion, off the axis: kernels and convolutions as plain sums, layers as a loop."""
    scene = next(s for s in (make_scene(4, n, 16, "multi_depth") for n in range(50)) if len(s.dioptres) == 3)
    indices = [scene.label(), scene.label() - 9]
    fast = shine(scene, indices)
    for k, found in zip(indices, fast):
        slow = np.zeros_like(found)
        for radiance, opacity, dioptre in zip(
            *(part.astype(float) for part in (scene.radiance, scene.opacity, scene.dioptres))
        ):
            kernels = direct.native_kernels(
                direct.traced_blur(dioptre, FOCUS[k]), scene.position.astype(float), *opacity.shape
            )
            for view, kernel in enumerate(kernels):
                covered = np.clip(direct.convolve(kernel, opacity), 0, 1)
                slow[view] = direct.convolve(kernel, opacity * radiance) + slow[view] * (1 - covered)
        slow *= direct.gains(scene.position.astype(float))[:, None, None]
        assert np.linalg.norm(found - slow) < 0.003 * np.linalg.norm(slow)
        assert abs(found - slow).max() < 0.01 * slow.mean()


def strip(inside=48):
    """Opacity (48, 96) of a bar between columns 24 and 24 + inside."""
    opacity = np.zeros((48, 96))
    opacity[:, 24 : 24 + inside] = 1
    return opacity


def test_near_blurred_edge_spills_over_the_sharp_background():
    """Focused behind a bar: near its edge the background shows as much as the pupil sees past the bar."""
    generator = np.random.default_rng(1)
    background, bar = generator.uniform(0.2, 1, (48, 96)), strip()
    behind, front = FOCUS[10], FOCUS[28]
    alone = shine(world([(background, np.ones_like(bar))], [behind]), [10])[0]
    both = shine(world([(background, np.ones_like(bar)), (np.zeros_like(bar), bar)], [behind, front]), [10])[0]
    through = both / alone
    assert through.std(1).max() < 1e-4

    points, weights = direct.pupil(direct.traced_blur(front, behind), (0.0, 0.0))
    radius = points[:, 0].max()
    assert radius > 6
    x = np.arange(96)
    for view in (0, 1):
        blurred = ndtr((x[:, None] - 23.5 - points[:, 0]) / 0.62) - ndtr((x[:, None] - 71.5 - points[:, 0]) / 0.62)
        assert through[view].mean(0) == pytest.approx(1 - blurred @ weights[view], abs=0.01)
    outside, inside = through[:, :, 23 - int(radius / 2)], through[:, :, 24 + int(radius / 2)]
    assert (outside < 0.97).all() and (inside > 0.03).all()

    bright = shine(world([(0 * bar, np.ones_like(bar)), (np.ones_like(bar), bar)], [behind, front]), [10])[0]
    assert bright / direct.gains((0.0, 0.0))[:, None, None] == pytest.approx(1 - through, abs=1e-4)


def test_sharp_near_edge_hides_the_blurred_background():
    """Focused on the bar its edge is sharp, whatever lies behind, and nothing shines through it."""
    bar = strip()
    layers = [(np.full_like(bar, 1.0), np.ones_like(bar)), (np.full_like(bar, 0.5), bar)]
    light = shine(world(layers, [FOCUS[4], FOCUS[40]]), [40])[0] / direct.gains((0.0, 0.0))[:, None, None]
    assert light[:, :, 28:68] == pytest.approx(0.5, abs=0.02)
    assert np.concatenate([light[:, :, :20], light[:, :, 76:]], -1) == pytest.approx(1.0, abs=0.02)


def test_absent_layers_change_nothing():
    scenes = [make_scene(7, n, 32, "multi_depth") for n in range(20)]
    trio = [next(s for s in scenes if len(s.dioptres) == layers) for layers in (2, 4, 3)]
    indices = torch.tensor([[0, 30], [13, 48], [22, 23]])
    together = render(SceneBatch(trio), indices)
    for scene, index, found in zip(trio, indices, together):
        alone = render(SceneBatch([scene]), index[None])[0]
        assert torch.allclose(found, alone, rtol=1e-5, atol=1e-6 * float(alone.max()))


@pytest.mark.parametrize("breathing, exponent", [(1.0, 1.0), (1.6, 1.6)])
def test_breathing_moves_features_away_from_the_axis(breathing, exponent):
    """A feature at p is imaged at p M(k)/M(24), with M = 1/(1 - f D): outwards when the lens focuses near."""
    position = (-0.5, 0.4)
    scene = world([(blob(), np.ones((48, 96)))], [FOCUS[24]], position)
    indices = [14, 24, 34]
    still, moved = shine(scene, indices), shine(scene, indices, breathing)
    focal_length = 4.44e-3
    scale = ((1 - focal_length * FOCUS[24]) / (1 - focal_length * FOCUS[indices])) ** exponent
    feature = -0.5 * 1008 + 0.5, 0.4 * 756 + 1.0  # the blob sits half a native sample off the patch centre
    for view in (0, 1):
        drift_x = centroid_x(moved[:, view]) - centroid_x(still[:, view])
        drift_y = 2 * (centroid_x(moved[:, view].swapaxes(1, 2)) - centroid_x(still[:, view].swapaxes(1, 2)))
        assert drift_x == pytest.approx((scale - 1) * feature[0], abs=0.1)
        assert drift_y == pytest.approx((scale - 1) * feature[1], abs=0.1)
    assert abs((scale - 1) * feature[0]).max() > 3


def test_without_breathing_nothing_moves():
    """Off the axis a blurred point shifts by its kernel's centroid and nothing else."""
    position = (-0.5, 0.4)
    indices = [14, 24, 34]
    light = shine(world([(blob(), np.ones((48, 96)))], [FOCUS[24]], position), indices)
    for k, views in zip(indices, light):
        points, weights = direct.pupil(direct.traced_blur(FOCUS[24], FOCUS[k]), position)
        assert centroid_x(views) == pytest.approx(weights @ points[:, 0], abs=0.05)
        assert 2 * centroid_x(views.swapaxes(1, 2)) == pytest.approx(weights @ points[:, 1], abs=0.05)


def flat(value, samples=64, slices=40):
    """Light (1, slices, 2, h, w) of a uniform field, for a patch of `samples` px."""
    return torch.full((1, slices, 2, samples // 2 + MARGIN, samples + 2 * MARGIN), value)


def test_noise_variance_and_correlation():
    """At native samples var = a x + b; interpolation leaves 0.625 of it and correlates rows, not columns."""
    a, b = 2e-3, 4e-4
    levels, variances = [0.0, 0.1, 0.3, 0.6], []
    for level in levels:
        counts = expose(flat(level), torch.tensor([[a, b]]), torch.Generator().manual_seed(3))
        assert counts.shape == (1, 40, 2, 64, 64) and counts.dtype == torch.uint16
        values = (counts.double().numpy()[0] - 64) / 959
        assert values.mean() == pytest.approx(level, abs=2e-4)
        variances.append(values.var())
    quantisation = (0.625 + 1) / 12 / 959**2
    assert np.array(variances) == pytest.approx(0.625 * (a * np.array(levels) + b) + quantisation, rel=0.02)

    noise = values - values.mean()
    along = [(noise[..., lag:] * noise[..., :-lag]).mean() / noise.var() for lag in (1, 2)]
    across = [(noise[..., lag:, :] * noise[..., :-lag, :]).mean() / noise.var() for lag in (1, 2, 3, 4)]
    assert across == pytest.approx([0.75, 0.30, 0.05, 0.0], abs=0.01)
    assert along == pytest.approx([0, 0], abs=0.01)
    assert (noise[:, 0] * noise[:, 1]).mean() / noise.var() == pytest.approx(0, abs=0.01)  # views are read out separately


def test_noise_is_fresh_in_every_stack_and_slice():
    """Two stacks of one and the same scene differ, by noise that no two of their slices share."""
    scene = make_scene(5, 2, 32)  # dark: all noise
    first, second = (simulator.simulate_stack(scene, 5, number).astype(float) for number in (0, 1))
    noise = (first - second)[20:24].reshape(4, -1)
    assert noise.std(1).min() > 5
    assert np.corrcoef(noise) == pytest.approx(np.eye(4), abs=0.1)
    assert np.array_equal(simulator.simulate_stack(scene, 5, 1), second)


def test_black_level_white_level_and_ten_bits():
    quiet = torch.tensor([[0.0, 0.0]])
    for light, count in ((0.0, 64), (0.5, 544), (1.0, 1023), (30.0, 1023)):
        assert (expose(flat(light, slices=1), quiet, torch.Generator()) == count).all()
    loud = torch.tensor([[3e-3, 1.0]])
    counts = expose(flat(0.5), loud, torch.Generator().manual_seed(0)).int()
    assert counts.min() == 0 and counts.max() == 1023
    dark = expose(flat(0.0), torch.tensor([[2e-3, 1e-5]]), torch.Generator().manual_seed(0)).double()
    assert dark.mean() == pytest.approx(64, abs=0.05) and dark.min() < 60  # noise isn't cut off at black


def test_patch_is_the_middle_of_the_world():
    """A native row becomes two rows at -1/4 and +1/4 of its pitch: interpolating a ramp gives it back."""
    light = flat(0.0, slices=1)
    light += 0.01 * torch.arange(light.shape[-2])[:, None] + 0.002 * torch.arange(light.shape[-1])
    counts = expose(light, torch.tensor([[0.0, 0.0]]), torch.Generator())[0, 0, 0].double()
    row, column = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    expected = 64 + 959 * (0.01 * (MARGIN / 2 + (row - 0.5) / 2) + 0.002 * (MARGIN + column))
    assert abs(counts - expected).max() <= 1.01  # two roundings


def same(a: FocalStacks, b: FocalStacks) -> bool:
    return (
        all(
            np.array_equal(getattr(a, name), getattr(b, name))
            for name in ("slices", "labels", "positions", "categories", "depths")
        )
        and a.digest == b.digest
    )


def test_same_seed_same_bytes(tmp_path):
    five, three, again = (simulate_stacks(count, 9, 16) for count in (5, 3, 3))
    assert same(three, again)
    assert np.array_equal(five.slices[:3], three.slices) and np.array_equal(five.labels[:3], three.labels)
    assert same(three, simulate_stacks(3, 9, 16, folder=tmp_path / "stacks"))
    other = simulate_stacks(3, 10, 16)
    assert not (other.slices == three.slices).all((1, 2, 3, 4)).any() and other.digest != three.digest


def test_two_processes_write_the_same_bytes(tmp_path):
    one = simulate_stacks(20, 9, 16, folder=tmp_path / "one")  # two parts, of at most 16
    two = simulate_stacks(20, 9, 16, processes=2, folder=tmp_path / "two")
    assert same(one, two)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    assert (tmp_path / "one/slices.npy").read_bytes() == (tmp_path / "two/slices.npy").read_bytes()


def test_sharpest_slice_is_the_label():
    """In a quiet, well lit, one-layer stack the gradient along the baseline peaks where the label says."""
    for number in range(60):
        scene = make_scene(3, number, 64, "plain")
        if len(scene.dioptres) == 1 and 2 <= scene.label() <= 46:
            light = shine(scene, range(49)).mean(1)
            sharpness = (np.diff(light, axis=-1) ** 2).mean((1, 2))
            assert abs(sharpness.argmax() - scene.label()) <= 1, number


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"count": 0}, "count and processes must be whole numbers, at least 1"),
        ({"count": 2.0}, "count and processes must be whole numbers"),
        ({"processes": 0}, "count and processes must be whole numbers, at least 1"),
        ({"breathing": float("nan")}, "breathing must be 0 or more"),
        ({"patch": 16.0}, "patch must be a positive multiple of 4 px, not 16.0"),
        ({"processes": 2}, "need a folder"),
        ({"patch": 30}, "patch must be a positive multiple of 4 px, not 30"),
        ({"category": "sunny"}, "category must be one of plain, multi_depth, dark"),
        ({"seed": -1}, "seed must be a non-negative integer, not -1"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_stacks(**{"count": 2, "seed": 1, "patch": 16} | arguments)


def test_command_line(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "validation"
    command = ["simulator", "--split", "validation", "--count", "2", "--patch", "16", "--out", str(folder)]
    monkeypatch.setattr("sys.argv", command)
    simulator.main()
    assert same(FocalStacks.load(folder), simulate_stacks(2, simulator.SPLIT_SEEDS["validation"], 16))
    monkeypatch.setattr("sys.argv", command[:-1] + [str(folder), "--processes", "0"])
    with pytest.raises(SystemExit, match="2"):
        simulator.main()
    assert "at least 1" in capsys.readouterr().err
