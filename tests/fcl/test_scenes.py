"""Procedural scenes: statistics, labels, positions and categories, against slow loops and plain counting."""

import dataclasses
from collections import Counter

import direct
import numpy as np
import pytest

from fcl.optics import FOCUS_DIOPTRES, FOCUS_DISTANCES_MM
from fcl.scenes import (
    CATEGORIES,
    FARTHEST,
    MARGIN,
    NEAR_DIOPTRE,
    NEAREST,
    SEPARATION,
    dead_leaves,
    draw_discs,
    highlights,
    make_scene,
    mask,
    patch_position,
    power_law_field,
)


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(5, number, 32) for number in range(480)]


def seen(scene):
    """The sharp patch (h, w) before the lens: a compositing loop without any blur."""
    image = np.zeros_like(scene.radiance[0])
    for radiance, opacity in zip(scene.radiance, scene.opacity):
        image = image * (1 - opacity) + radiance * opacity
    return image[MARGIN // 2 : -MARGIN // 2, MARGIN:-MARGIN]


def contrast(scene):
    image = seen(scene)
    return image.std() / image.mean()


def amplitude_slope(images, row_pitch=1.0):
    """Slope of log amplitude over log frequency, of images (n, h, w) together, from 0.03 to 0.2 cycles/px."""
    height, width = images.shape[1:]
    frequency = np.hypot(np.fft.fftfreq(height, row_pitch)[:, None], np.fft.rfftfreq(width))
    power = (abs(np.fft.rfft2(images - images.mean((1, 2), keepdims=True))) ** 2).mean(0)
    edges = np.geomspace(0.03, 0.2, 9)
    rings = [(frequency >= low) & (frequency < high) for low, high in zip(edges, edges[1:])]
    centres = [np.log(frequency[ring]).mean() for ring in rings]
    return np.polyfit(centres, [0.5 * np.log(power[ring].mean()) for ring in rings], 1)[0]


@pytest.mark.parametrize("exponent", [0.8, 1.4, 2.0])
def test_power_law_field_has_its_spectrum(exponent):
    """1/f^a in cycles per px of the sensor, although the native rows lie 2 px apart."""
    rng = np.random.default_rng(0)
    fields = np.stack([power_law_field(rng, (64, 128), exponent) for _ in range(40)])
    assert amplitude_slope(fields, row_pitch=2.0) == pytest.approx(-exponent, abs=0.06)
    power = (abs(np.fft.fft2(fields)) ** 2).mean(0)
    # The world is 128 px high and wide: its 3rd to 20th waves have the same length down and across.
    assert np.log(power[3:21, 0] / power[0, 3:21]).mean() == pytest.approx(0, abs=0.15)
    assert fields.mean() == pytest.approx(0, abs=1e-5) and fields.std((1, 2)) == pytest.approx(1, abs=1e-5)


def test_dead_leaves_have_a_natural_spectrum():
    """Scale-invariant leaves have an amplitude of about 1/f, like photographs, and normal grey values."""
    rng = np.random.default_rng(0)
    leaves = np.stack([dead_leaves(rng, (96, 192), 1.0) for _ in range(30)])
    assert -1.2 < amplitude_slope(leaves, row_pitch=2.0) < -0.8
    assert leaves.mean() == pytest.approx(0, abs=0.1) and leaves.std() == pytest.approx(0.9, abs=0.15)


def test_discs_are_round_on_the_sensor_and_wrap_around():
    rng = np.random.default_rng(3)
    for _ in range(20):
        image = draw_discs(rng, (32, 64), np.array([9.0]), np.array([1.0]))
        assert 2 * image.sum() == pytest.approx(np.pi * 9.0**2, rel=0.03)  # a native sample is 2 px
        rows, columns = image.any(1).sum() * 2, image.any(0).sum()
        assert abs(rows - 19) <= 3 and abs(columns - 19) <= 2
    image = draw_discs(rng, (32, 64), np.full(200, 9.0), np.full(200, 1.0))
    assert image.min() == 1  # covered up to the borders


def test_highlights_are_far_above_white():
    light = highlights(np.random.default_rng(0), (64, 128), 40)
    assert 5 < light.max() <= 50 and (light == 0).mean() > 0.8


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_mask_covers_its_share_of_the_patch(share):
    opacity = mask(np.random.default_rng(2), (48, 96), share)
    inner = opacity[8:-8, 16:-16]
    assert (inner >= 0.5).mean() == pytest.approx(share, abs=0.02)
    assert opacity.min() >= 0 and opacity.max() <= 1
    assert 0 < ((opacity > 0) & (opacity < 1)).mean() < 0.2  # soft edges, otherwise all or nothing


def test_label_is_nearest_to_the_lower_median_depth(scenes):
    """Slow and direct: find the front of every sample, sort the depths, take the lower of the middle two."""
    for scene in scenes[:60]:
        depths = []
        for row in range(MARGIN // 2, MARGIN // 2 + 16):
            for column in range(MARGIN, MARGIN + 32):
                front = max(k for k in range(len(scene.dioptres)) if scene.opacity[k, row, column] >= 0.5)
                depths.append(1000 / float(scene.dioptres[front]))
        median = sorted(depths)[len(depths) // 2 - 1]
        label = min(range(49), key=lambda k: abs(1000 / FOCUS_DISTANCES_MM[k] - 1000 / median))
        assert scene.label() == label
        assert sorted(scene.depth_map().ravel()) == pytest.approx(sorted(1000 / d for d in depths), rel=1e-5)


def test_lower_median_takes_the_nearer_half():
    scene = make_scene(5, 0, 32)
    opacity = np.ones((2, 32, 64), np.float32)
    opacity[1, :, 32:] = 0.49
    split = dataclasses.replace(
        scene, radiance=opacity, opacity=opacity, dioptres=np.float32([FOCUS_DIOPTRES[7], FOCUS_DIOPTRES[30]])
    )
    assert split.label() == 30
    opacity[1, 20, 31] = 0.49
    assert split.label() == 7


def test_layers_lie_far_to_near_within_the_lens_range(scenes):
    for scene in scenes:
        count = len(scene.dioptres)
        assert 1 <= count <= 4 and scene.radiance.shape == scene.opacity.shape == (count, 32, 64)
        assert scene.radiance.dtype == scene.opacity.dtype == scene.dioptres.dtype == np.float32
        assert (np.diff(scene.dioptres) >= 0).all()
        assert np.float32(FARTHEST) <= scene.dioptres[0] and scene.dioptres[-1] <= np.float32(NEAREST)
        assert (scene.opacity[0] == 1).all() and (scene.radiance >= 0).all() and np.isfinite(scene.radiance).all()


def test_every_category_does_what_it_says(scenes):
    assert Counter(scene.category for scene in scenes) == dict.fromkeys(CATEGORIES, 80)
    of = {category: [scene for scene in scenes if scene.category == category] for category in CATEGORIES}

    # Layers apart: every gap at least a dioptre, and all depths possible.
    assert all(len(scene.dioptres) >= 2 and np.diff(scene.dioptres).min() > SEPARATION - 1e-5 for scene in of["multi_depth"])
    assert {len(scene.dioptres) for scene in of["multi_depth"]} == {2, 3, 4}
    assert all(len(scene.dioptres) <= 2 for category in CATEGORIES if category != "multi_depth" for scene in of[category])

    # Near: the lens has to go to the last quarter of its range.
    nearest = [scene.label() for scene in of["near"]]
    assert min(nearest) >= 34 and max(nearest) >= 47
    assert all(1 / np.median(1 / scene.depth_map()) > NEAR_DIOPTRE - 0.01 for scene in of["near"])

    # Dark: a signal of 0.5-3 % of white at high gain.
    signal = np.array([seen(scene).mean() * direct.gains(scene.position).mean() for scene in of["dark"]])
    assert 0.005 < np.median(signal) < 0.03 and ((signal > 0.003) & (signal < 0.05)).mean() > 0.9
    assert all(scene.noise[0] == 2e-3 for scene in of["dark"])

    # Textureless: surfaces of little contrast (a second may be brighter); saturated: parts above white.
    low, usual = (
        [contrast(scene) for scene in of[category] if len(scene.dioptres) == 1] for category in ("textureless", "plain")
    )
    assert np.median(low) < 0.1 < 0.3 < np.median(usual) and max(low) < 0.2
    clipped = {category: np.mean([(seen(scene) >= 1).any() for scene in of[category]]) for category in CATEGORIES}
    assert clipped["saturated"] > 0.9 and clipped["dark"] == clipped["textureless"] == 0


def test_labels_fill_the_whole_range(scenes):
    """Depths are uniform in dioptres: without `near`, a seventh of the indices holds a seventh of labels."""
    labels = [scene.label() for scene in scenes if scene.category != "near"]
    counts = np.histogram(labels, 7, (0, 49))[0]
    assert abs(counts - 400 / 7).max() < 4 * np.sqrt(400 / 7)


def test_noise_follows_the_phone_calibration(scenes):
    """Shot-noise gain within 3e-5 to 3e-3; read noise through (7.2e-5, 4.5e-4) and (2.0e-3, 3.2e-3)."""
    a, b = np.array([scene.noise for scene in scenes]).T
    assert 3e-5 <= a.min() < 5e-5 and 2e-3 <= a.max() <= 3e-3
    slope = np.log(3.2e-3 / 4.5e-4) / np.log(2.0e-3 / 7.2e-5)
    assert np.sqrt(b) == pytest.approx(4.5e-4 * (a / 7.2e-5) ** slope, rel=0.01)


def test_positions_lie_on_the_patch_grid(scenes):
    places = np.array([scene.position for scene in scenes], float)
    x, y = (places[:, 0] + 1) * 1008, (places[:, 1] + 1) * 756
    assert np.allclose(np.round((x - 64) / 40) * 40 + 64, x, atol=1e-3)
    assert np.allclose(np.round((y - 64) / 40) * 40 + 64, y, atol=1e-3)
    assert x.min() >= 63.9 and x.max() <= 2016 - 63.9 and y.min() >= 63.9 and y.max() <= 1512 - 63.9
    rng = np.random.default_rng(0)
    many = np.array([patch_position(rng) for _ in range(4000)])
    assert len(np.unique(many[:, 0])) == 48 and len(np.unique(many[:, 1])) == 35  # every column and row of the grid


def test_a_scene_depends_on_its_seed_and_number_alone():
    def content(scene):
        return [
            scene.radiance.tobytes(),
            scene.opacity.tobytes(),
            scene.dioptres.tobytes(),
            scene.position.tobytes(),
            scene.noise,
        ]

    assert content(make_scene(5, 17, 32)) == content(make_scene(5, 17, 32))
    assert content(make_scene(5, 17, 32)) == content(make_scene(5, 17, 32, CATEGORIES[17 % 6]))
    assert not set(content(make_scene(5, 17, 32))) & set(content(make_scene(5, 23, 32))) - {
        np.ones((1, 32, 64), np.float32).tobytes()
    }
    assert content(make_scene(5, 17, 32))[0] != content(make_scene(6, 17, 32))[0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"category": "night"},
            "category must be one of plain, multi_depth, dark, near, saturated, textureless, not 'night'",
        ),
        ({"category": ""}, "category must be one of"),
        ({"patch": 0}, "positive multiple of 4 px, not 0"),
        ({"patch": 18}, "positive multiple of 4 px, not 18"),
        ({"seed": -3}, "seed must be a non-negative integer, not -3"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_scene(**{"seed": 1, "index": 0, "patch": 32} | arguments)
