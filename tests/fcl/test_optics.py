"""Lens, blur and dual-pixel kernels against traced rays and plain sums over the pupil (tests/direct.py)."""

import direct
import numpy as np
import pytest
import torch

from fcl import optics
from fcl.settings import N

PLACES = [(0.0, 0.0), (0.35, -0.2), (-0.7, 0.6), (1.0, 1.0)]
DIAMETERS = [-32.0, -9.0, -2.0, 0.0, 0.7, 5.0, 20.0]


def spectra(diameter, place, height=24, width=32, row_pitch=2.0):
    grid = optics.frequency_grid(height, width, row_pitch)
    lens = optics.DualPixelLens(torch.tensor([place], dtype=torch.float32), *grid)
    return lens(torch.tensor([[diameter]]))[0, 0].numpy(), *(f.double().numpy() for f in grid)


def centroids(kernels):
    """Centroids (2, 2) of kernels centred on pixel size // 2: (x, y) of the left view, then of the right."""
    size = kernels.shape[-1]
    place = np.arange(size) - size // 2
    return np.stack([kernels.sum(1) @ place, kernels.sum(2) @ place], 1)


def test_focus_distances():
    assert optics.FOCUS_DISTANCES_MM.shape == (N,) == (49,)
    assert optics.FOCUS_DISTANCES_MM[[0, 24, 48]].tolist() == [3910.92, 198.18, 102.01]
    assert (np.diff(optics.FOCUS_DISTANCES_MM) < 0).all()
    steps = np.diff(1000 / optics.FOCUS_DISTANCES_MM)
    assert 0.1665 < steps.min() < steps.max() < 0.2265
    assert steps.mean() == pytest.approx(0.1989, abs=1e-4)
    with pytest.raises(ValueError, match="read-only"):
        optics.FOCUS_DISTANCES_MM[0] = 1.0


def test_blur_diameter_against_traced_rays():
    for focus in optics.FOCUS_DIOPTRES[::6]:
        for thing in (0.1, 0.256, 2.0, 5.5, 9.8, 12.0):
            assert optics.blur_diameter(thing, focus) == pytest.approx(direct.traced_blur(thing, focus), rel=1e-9, abs=1e-9)
    assert optics.blur_diameter(1.0, 0.0) == pytest.approx(3.911, abs=5e-4)  # px per dioptre
    table = optics.blur_diameter(optics.FOCUS_DIOPTRES[:, None], optics.FOCUS_DIOPTRES)
    assert table.shape == (49, 49) and (table.diagonal() == 0).all()
    assert 37 < abs(table).max() < optics.MAX_DIAMETER
    column = torch.tensor(optics.FOCUS_DIOPTRES.copy())
    assert optics.blur_diameter(column[:, None], column).numpy() == pytest.approx(table, abs=1e-9)


def test_breathing_drift_over_the_stack():
    far, near = (optics.magnification(optics.FOCUS_DIOPTRES[k]) for k in (0, 48))
    assert np.array([420, 840, 1170]) * (near - far) / far == pytest.approx([18.6, 37.2, 51.9], abs=0.1)


def test_nearest_index_by_search():
    dioptres = np.random.default_rng(0).uniform(0, 10.5, (5, 40))
    slow = [[min(range(49), key=lambda k: abs(1000 / optics.FOCUS_DISTANCES_MM[k] - d)) for d in row] for row in dioptres]
    assert optics.nearest_index(dioptres).tolist() == slow
    assert optics.nearest_index(optics.FOCUS_DIOPTRES).tolist() == list(range(49))
    assert optics.nearest_index(3.0).shape == ()


def test_view_gain():
    places = torch.cartesian_prod(torch.linspace(-1, 1, 9), torch.linspace(-1, 1, 5))
    gain = optics.view_gain(places)
    assert gain.numpy() == pytest.approx(np.stack([direct.gains(place) for place in places.double().numpy()]), rel=1e-5)
    ratio = gain[:, 0] / gain[:, 1]
    assert (float(ratio.min()), float(ratio.max())) == pytest.approx((1.02, 1.39), abs=0.005)
    assert gain[len(places) // 2].prod().item() == pytest.approx(1, abs=1e-6)  # the centre: views differ, no vignetting


@pytest.mark.parametrize("row_pitch", [1.0, 2.0])
def test_modulation_transfer(row_pitch):
    f_y, f_x = optics.frequency_grid(24, 32, row_pitch)
    assert f_y[:, 0].numpy() == pytest.approx(np.fft.fftfreq(24, row_pitch), abs=1e-7)
    assert f_x[0].numpy() == pytest.approx(np.fft.rfftfreq(32), abs=1e-7)
    slow = direct.transfer(f_y.double().numpy(), f_x.double().numpy())
    assert optics.modulation_transfer(f_y, f_x).numpy() == pytest.approx(slow, abs=1e-6)


@pytest.mark.parametrize("place", PLACES)
def test_spectrum_is_that_of_the_weighted_elliptical_disk(place):
    for diameter in DIAMETERS:
        fast, f_y, f_x = spectra(diameter, place)
        assert abs(fast - direct.spectrum(diameter, place, f_y, f_x)).max() < 4e-3, diameter


@pytest.mark.parametrize("place", PLACES)
def test_kernels_sum_to_one_and_agree_with_a_supersampled_raster(place):
    for diameter, size in ((0.0, 16), (6.0, 36), (-14.5, 67)):
        kernels = optics.dual_pixel_kernels(diameter, place, size)
        assert kernels.shape == (2, size, size) and kernels.dtype == torch.float32
        assert kernels.sum((1, 2)).numpy() == pytest.approx(1, abs=1e-5)
        frequency = np.fft.fftfreq(size)
        slow = np.fft.ifft2(direct.spectrum(diameter, place, frequency[:, None], frequency)).real
        slow = np.roll(slow, (size // 2, size // 2), (1, 2))
        assert abs(kernels.numpy() - slow).sum() < 0.03 * abs(slow).sum(), diameter


@pytest.mark.parametrize("diameter", [8.0, -8.0])
def test_left_right_shift_on_the_axis(diameter):
    """Nearer than focus: left centroid at +x, right one at -x, s r/2 apart; farther: the other way round."""
    left, right = centroids(optics.dual_pixel_kernels(diameter, (0.0, 0.0), 49).double().numpy())
    assert left[0] * diameter > 0 > right[0] * diameter
    assert left[0] - right[0] == pytest.approx(0.98 * (diameter / 2) / 2, abs=0.02)
    assert [left[1], right[1]] == pytest.approx([0, 0], abs=5e-3)


@pytest.mark.parametrize("place", PLACES)
def test_left_right_shift_over_the_field(place):
    """Off the axis the shift is s r/2 with the local s and r, stretched like the disk; in focus zero."""
    q = direct.field(place)
    for diameter in (-6.0, 0.0, 6.0):
        points, weights = direct.pupil(diameter, place)
        left, right = centroids(optics.dual_pixel_kernels(diameter, place, 49).double().numpy())
        assert np.stack([left, right]) == pytest.approx(weights @ points, abs=0.02)
        assert (left - right)[0] * diameter >= 0
        radius, slope = diameter / 2 * (1 + 0.6 * q @ q), float(optics.view_slope(torch.tensor(place)))
        stretch = 1 + 0.42 * (q[0] ** 2 - q[1] ** 2)  # the x, x element of 1 + 0.42 (2 q q^T - |q|^2)
        assert (left - right)[0] == pytest.approx(slope * radius / 2 * stretch, abs=0.02)


def test_one_slice_is_a_subpixel_step():
    """Kernels move smoothly with the blur: a step of one focal index is not lost to rounding."""
    steps = [optics.dual_pixel_kernels(d, (0.0, 0.0), 32).double().numpy() for d in (4.0, 4.78)]
    shift = [float(np.subtract(*centroids(kernels))[0]) for kernels in steps]
    assert shift[1] - shift[0] == pytest.approx(0.19, abs=0.01)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((4.0, (1.2, 0.0), 32), r"position must be .* both in \[-1, 1\]"),
        ((4.0, (0.0, float("nan")), 32), "position"),
        ((4.0, (0.0, 0.0, 0.0), 32), "position"),
        ((41.0, (0.0, 0.0), 99), "diameter_px must lie within"),
        ((float("nan"), (0.0, 0.0), 99), "diameter_px"),
        ((12.0, (0.0, 0.0), 19), "needs size >= 20, not 19"),
    ],
)
def test_kernel_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        optics.dual_pixel_kernels(*arguments)
