"""Simulated stacks as data: nothing but the blur tells the label, and real stacks look alike."""

import os
from pathlib import Path

import direct
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import rankdata, spearmanr

from fcl.scenes import CATEGORIES, make_scene
from fcl.simulator import SPLIT_SEEDS, SceneBatch, expose, render, simulate_stacks


def test_splits_are_disjoint():
    assert len(set(SPLIT_SEEDS.values())) == 3 and set(SPLIT_SEEDS) == {"train", "validation", "test"}
    drawn = [{make_scene(seed, n, 16).radiance.tobytes() for n in range(30)} for seed in SPLIT_SEEDS.values()]
    assert len(set.union(*drawn)) == 90


def test_stacks_carry_what_the_scenes_say():
    stacks = simulate_stacks(6, 2, 16)
    assert stacks.slices.shape == (6, 49, 2, 16, 16) and stacks.slices.dtype == np.uint16 and stacks.slices.max() <= 1023
    assert stacks.categories.tolist() == list(CATEGORIES) and (stacks.black, stacks.white) == (64, 1023)
    for number in range(6):
        scene = make_scene(2, number, 16)
        assert stacks.labels[number] == scene.label()
        assert np.array_equal(stacks.positions[number], scene.position)
        assert stacks.depths[number] == pytest.approx(scene.depth_map()[1::2, 2::4], rel=1e-3)
    assert set(simulate_stacks(2, 2, 16, "near").categories) == {"near"}


@pytest.fixture(scope="module")
def crowd():
    """400 scenes and their counts (400, 2, 32, 32) at focal index 24."""
    scenes = [make_scene(21, number, 32) for number in range(400)]
    generator, counts = torch.Generator().manual_seed(0), []
    for first in range(0, 400, 50):
        batch = SceneBatch(scenes[first : first + 50])
        counts.append(expose(render(batch, torch.full((50, 1), 24)), batch.noise, generator)[:, 0])
    return scenes, (torch.cat(counts).double().numpy() - 64) / 959


def within_categories(scenes, series) -> np.ndarray:
    """Ranks in (0, 1) inside each category: by definition `near` has near labels and `dark` much noise."""
    categories, ranks = np.array([scene.category for scene in scenes]), np.empty(len(scenes))
    for category in CATEGORIES:
        members = categories == category
        ranks[members] = (rankdata(np.asarray(series)[members]) - 0.5) / members.sum()
    return ranks


def test_nothing_beside_the_blur_gives_the_label_away(crowd):
    """Rank correlations of the label with brightness, noise, position, borders: all within sampling noise."""
    scenes, values = crowd
    labels = within_categories(scenes, [scene.label() for scene in scenes])
    mean = values.mean((1, 2, 3))
    border = np.concatenate([values[..., 0, :], values[..., -1, :], values[..., 0], values[..., -1]], -1)
    clues = {
        "brightness": mean,
        "left/right": values[:, 0].mean((1, 2)) / values[:, 1].mean((1, 2)),
        "border/inside": border.mean((1, 2)) / mean,
        "rows/columns": values[..., [0, -1], :].mean((1, 2, 3)) / values[..., [0, -1]].mean((1, 2, 3)),
        "clipped": (values >= 1).mean((1, 2, 3)),
        "noise": [scene.noise[0] for scene in scenes],
        "x": [scene.position[0] for scene in scenes],
        "y": [scene.position[1] for scene in scenes],
        "field radius": [np.linalg.norm(direct.field(scene.position)) for scene in scenes],
    }
    found = {clue: float(np.corrcoef(within_categories(scenes, series), labels)[0, 1]) for clue, series in clues.items()}
    assert all(abs(correlation) < 3 / 20 for correlation in found.values()), found  # three standard errors of n = 400


def test_how_a_scene_is_exposed_does_not_hint_at_its_label_across_categories():
    """`near` alone has other labels than the rest, so it must be dark, noisy and bright as often as they are."""
    scenes = [make_scene(22, number, 8) for number in range(1800)]
    labels = [scene.label() for scene in scenes]
    clues = {
        "gain": [scene.noise[0] for scene in scenes],
        "brightness": [float(scene.radiance.mean()) for scene in scenes],
        "contrast": [float(scene.radiance[0].std() / scene.radiance[0].mean()) for scene in scenes],
    }
    found = {clue: float(spearmanr(series, labels).statistic) for clue, series in clues.items()}
    assert all(abs(correlation) < 3 / 1800**0.5 for correlation in found.values()), found


def test_a_linear_probe_of_the_borders_finds_nothing(crowd):
    """Ridge regression from a patch's edges, normalised as the networks do it: no skill on unseen scenes."""
    scenes, values = crowd
    labels = within_categories(scenes, [scene.label() for scene in scenes])
    values = (values - values.mean((1, 2, 3), keepdims=True)) / (values.std((1, 2, 3), keepdims=True) + 1e-3)
    edges = np.stack([values[..., 0, :], values[..., -1, :], values[..., 0], values[..., -1]], -2)  # (400, 2, 4, 32)
    profile = edges.reshape(400, 2, 4, 4, 8).mean(-1).reshape(400, -1)
    half = np.arange(400) % 24 < 12  # both halves hold all six categories
    skill = []
    for train in (half, ~half):
        centre = profile[train].mean(0), labels[train].mean()
        x, y = profile[train] - centre[0], labels[train] - centre[1]
        slope = np.linalg.solve(x.T @ x + 30 * np.eye(x.shape[1]), x.T @ y)
        error = labels[~train] - centre[1] - (profile[~train] - centre[0]) @ slope
        skill.append(1 - (error**2).mean() / labels[~train].var())
    assert np.mean(skill) < 0.03, skill


def sharpness_curve(stack) -> tuple[float, float]:
    """Width at half height, in indices, of the gradient energy of (49, H, W); the contrast at its peak."""
    gradients = (np.diff(stack, axis=1) ** 2).mean((1, 2)) + (np.diff(stack, axis=2) ** 2).mean((1, 2))
    energy = gradients / stack.mean((1, 2)) ** 2
    sharpest = stack[energy.argmax()]
    return int((energy > (energy.min() + energy.max()) / 2).sum()), sharpest.std() / sharpest.mean()


@pytest.mark.skipif(
    "FCL_REAL_STACKS" not in os.environ, reason="FCL_REAL_STACKS names no folder of real focal stacks (NAME/slice_KK.png)"
)
def test_real_stacks_look_like_simulated_ones():
    """Real curves are as wide, and real patches as rich in contrast, as simulated ones at their extremes."""
    folders = sorted(path.parent for path in Path(os.environ["FCL_REAL_STACKS"]).glob("*/slice_00.png"))
    assert folders, "FCL_REAL_STACKS names a folder without */slice_KK.png"
    real = [
        np.stack([np.asarray(Image.open(folder / f"slice_{k:02d}.png"), float) for k in range(49)]) for folder in folders
    ]
    simulated = simulate_stacks(36, 77, 64).slices.mean(2) - 64.0
    real, simulated = (np.array([sharpness_curve(stack) for stack in stacks]) for stacks in (real, simulated))
    assert (real >= simulated.min(0)).all() and (real <= simulated.max(0)).all()
