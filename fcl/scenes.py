"""Procedural scenes: fronto-parallel layers of natural texture at random depths, in six named categories.

Shape legend: K layers, h x w the native grid of the sensor (rows 2 px apart across the dual-pixel baseline, columns 1 px),
the patch in its middle and MARGIN px around it. The world repeats at the outer border, which the Fourier renderer needs.

Dead leaves with radius density r^-3 (Lee, Mumford and Huang, IJCV 2001) and 1/f^a fields stand in for natural images. Depth
is drawn uniformly in dioptres and independently of brightness, contrast, noise and position, so none of them gives the label
away.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from fcl import optics
from fcl.randomness import generator

CATEGORIES = ("plain", "multi_depth", "dark", "near", "saturated", "textureless")
NEAR_LOOKS = ("plain", "multi_depth", "dark", "saturated", "textureless")
MARGIN = 16  # px of world rendered around the patch on each side
NEAREST, FARTHEST = optics.FOCUS_DIOPTRES[-1], optics.FOCUS_DIOPTRES[0]
NEAR_DIOPTRE = 7.5  # the category `near` begins here: 13 cm
SEPARATION = 1.0  # dioptres between the layers of `multi_depth`, about five focal indices


@dataclass(frozen=True)
class Scene:
    """What the camera looks at through one patch, and how it is exposed.

    radiance (K, h, w) float32: light per layer, 1 = white level at unit gain, far to near; opacity (K, h, w) in [0, 1], the
    farthest layer opaque; dioptres (K,); position (2,) of the patch centre in the frame; noise (a, b): var = a x + b.
    """

    radiance: np.ndarray
    opacity: np.ndarray
    dioptres: np.ndarray
    position: np.ndarray
    noise: tuple[float, float]
    category: str
    patch: int

    def depth_map(self) -> np.ndarray:
        """Dioptres (patch/2, patch) of the nearest layer that is at least half opaque at each native sample."""
        front = np.where(self.opacity >= 0.5, np.arange(len(self.dioptres))[:, None, None], 0).max(0)
        rows, columns = MARGIN // 2, MARGIN
        return self.dioptres[front][rows : rows + self.patch // 2, columns : columns + self.patch].astype(np.float32)

    def label(self) -> int:
        """Focal index nearest in dioptres to the lower median of the patch's depth map."""
        depths = np.sort(1 / self.depth_map(), axis=None)
        return int(optics.nearest_index(1 / depths[(depths.size - 1) // 2]))


def power_law_field(rng: np.random.Generator, shape: tuple[int, int], exponent: float) -> np.ndarray:
    """Periodic Gaussian field (h, w) with amplitude spectrum 1/f^exponent, zero mean, unit variance, isotropic on the
    sensor.
    """
    f_y, f_x = np.fft.fftfreq(shape[0], 2.0)[:, None], np.fft.rfftfreq(shape[1])[None]
    frequency = np.hypot(f_y, f_x)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal(shape, np.float32)) * frequency**-exponent
    field = np.fft.irfft2(spectrum, s=shape)
    return (field / field.std()).astype(np.float32)


def _copies(centre: float, radius: float, size: int) -> list[float]:
    """Where a disc on a periodic axis must be drawn so that what leaves on one side comes in on the other."""
    return [centre] + [centre + size] * (centre < radius) + [centre - size] * (centre > size - radius)


def draw_discs(rng: np.random.Generator, shape: tuple[int, int], radii: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Image (h, w) of discs at random places, each over the last, drawn at 2 x 2 samples per native sample and averaged."""
    height, width = 2 * shape[0], 2 * shape[1]  # half-px columns, px rows
    image = Image.new("F", (width, height))
    pen = ImageDraw.Draw(image)
    centres = rng.random((len(radii), 2)) * (width, height)
    for (x, y), r, value in zip(centres.tolist(), radii.tolist(), values.tolist()):
        for cx in _copies(x, 2 * r, width):
            for cy in _copies(y, r, height):
                pen.ellipse((cx - 2 * r, cy - r, cx + 2 * r - 1, cy + r - 1), fill=value)  # the last sample counts
    return np.asarray(image).reshape(shape[0], 2, shape[1], 2).mean((1, 3), dtype=np.float32)


def dead_leaves(rng: np.random.Generator, shape: tuple[int, int], smallest: float, coverage: float = 3.0) -> np.ndarray:
    """Dead leaves (h, w), standard normal grey values: discs of density r^-3 from `smallest` px to half the width."""
    largest = shape[1] / 2
    mean_area = 2 * np.pi * np.log(largest / smallest) / (smallest**-2 - largest**-2)
    count = int(coverage * 2 * shape[0] * shape[1] / mean_area)
    radii = (smallest**-2 - rng.random(count) * (smallest**-2 - largest**-2)) ** -0.5
    return draw_discs(rng, shape, radii, rng.standard_normal(count))


def highlights(rng: np.random.Generator, shape: tuple[int, int], count: int) -> np.ndarray:
    """Light (h, w) of `count` lamps and glints, 5 to 50 times white: defocused, they show the blur disc itself."""
    return draw_discs(
        rng, shape, np.exp(rng.uniform(np.log(0.5), np.log(2.5), count)), np.exp(rng.uniform(np.log(5), np.log(50), count))
    )


def texture(rng: np.random.Generator, shape: tuple[int, int], contrast: float, exponent: float) -> np.ndarray:
    """Radiance (h, w), mean about 1: exp of dead leaves mixed with a 1/f^exponent field, its log deviation `contrast`."""
    share, smallest_leaf = rng.uniform(0.3, 1.0), np.exp(rng.uniform(0, np.log(6)))
    mix = share * dead_leaves(rng, shape, smallest_leaf) + (1 - share) * power_law_field(rng, shape, exponent)
    return np.exp(contrast * (mix - mix.mean()) / mix.std())


def mask(rng: np.random.Generator, shape: tuple[int, int], share: float) -> np.ndarray:
    """Opacity (h, w) of a layer that covers `share` of the patch: a thresholded 1/f^1.8 field with one-pixel soft edges."""
    field = power_law_field(rng, shape, 1.8)
    rows, columns = MARGIN // 2, MARGIN
    inner = field[rows:-rows, columns:-columns]
    threshold = np.quantile(inner, 1 - share)
    d_y, d_x = np.gradient(field, 2.0, 1.0)
    return np.clip(0.5 + (field - threshold) / np.maximum(np.hypot(d_y, d_x), 1e-6), 0, 1).astype(np.float32)


def _layers(rng: np.random.Generator, category: str) -> tuple[np.ndarray, np.ndarray]:
    """Dioptres of the layers, far to near, and the share of the patch in which each but the farthest covers those behind."""
    if category == "multi_depth":
        count = int(rng.choice([2, 3, 4], p=[0.5, 0.3, 0.2]))
        free = np.sort(rng.random(count)) * (NEAREST - FARTHEST - (count - 1) * SEPARATION)
        shares = rng.uniform(0.2, 0.4, count - 1)  # clearly less or clearly more than half
        return FARTHEST + free + SEPARATION * np.arange(count), np.where(rng.random(count - 1) < 0.5, shares, 1 - shares)
    main = rng.uniform(NEAR_DIOPTRE if category == "near" else FARTHEST, NEAREST)
    if rng.random() < 0.5:
        return np.array([main]), np.empty(0)
    other = rng.uniform(FARTHEST, NEAREST)
    share = rng.uniform(0.05, 0.25)
    return np.sort([main, other]), np.array([share if other > main else 1 - share])


def make_scene(seed: int, index: int, patch: int = 128, category: str | None = None) -> Scene:
    """Scene number `index` of `seed`: the same whatever was drawn before it. Categories take turns unless one is named.

    Raises ValueError for an unknown category or a patch that is not a positive multiple of 4.
    """
    if category is not None and category not in CATEGORIES:
        raise ValueError(f"category must be one of {', '.join(CATEGORIES)}, not {category!r}")
    if not isinstance(patch, (int, np.integer)) or patch < 4 or patch % 4:
        raise ValueError(f"patch must be a positive multiple of 4 px, not {patch!r}")
    category = category or CATEGORIES[index % len(CATEGORIES)]
    rng = generator(seed, "scene", index)
    shape = (patch // 2 + MARGIN, patch + 2 * MARGIN)
    dioptres, shares = _layers(rng, category)
    # Near scenes have the looks of all the others in turn: neither brightness nor noise may hint at a near label.
    look = str(rng.choice(NEAR_LOOKS)) if category == "near" else category

    gain, exposure = np.exp(rng.uniform(np.log(3e-5), np.log(1e-3))), np.exp(rng.uniform(np.log(0.08), np.log(0.5)))
    contrasts, exponents, imbalance = (0.2, 0.8), (0.8, 1.4), 0.3  # imbalance: log deviation of brightness between layers
    if look == "dark":
        gain, exposure = 2e-3, np.exp(rng.uniform(np.log(0.01), np.log(0.03)))
    elif look == "saturated":
        exposure = np.exp(rng.uniform(np.log(0.5), np.log(1.5)))
    elif look == "textureless":
        contrasts, exponents, imbalance = (0.04, 0.12), (1.6, 2.2), 0.1
    # Chance of highlights in a layer.
    lamps = 1.0 if look == "saturated" else 0.0 if look in ("dark", "textureless") else 0.1

    radiance = []
    for _ in dioptres:
        contrast = np.exp(rng.uniform(*np.log(contrasts)))
        layer = exposure * np.exp(rng.normal(0, imbalance)) * texture(rng, shape, contrast, rng.uniform(*exponents))
        if rng.random() < lamps:
            layer += highlights(rng, shape, int(rng.integers(2, 9)))
        radiance.append(layer)
    opacity = [np.ones(shape, np.float32), *(mask(rng, shape, share) for share in shares)]
    # Phone calibrations from ISO 100 to 3200: the read noise grows as the 0.59th power of the shot-noise gain.
    read_noise = 4.5e-4 * (gain / 7.2e-5) ** 0.59
    return Scene(
        np.stack(radiance).astype(np.float32),
        np.stack(opacity),
        dioptres.astype(np.float32),
        patch_position(rng),
        (float(gain), float(read_noise**2)),
        category,
        patch,
    )


def patch_position(rng: np.random.Generator) -> np.ndarray:
    """Centre (x, y) in [-1, 1] of a random patch of the public data's grid: 128 px patches every 40 px of the frame."""
    rows, columns = optics.FRAME
    x = 64 + 40 * rng.integers((columns - 128) // 40 + 1)
    y = 64 + 40 * rng.integers((rows - 128) // 40 + 1)
    return np.array([2 * x / columns - 1, 2 * y / rows - 1], np.float32)
