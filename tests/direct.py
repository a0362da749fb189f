"""The optics once more, slowly: float64 NumPy written from the formulas, plain sums, no Bessel functions.

It shares nothing with `fcl` but the published constants, repeated here. Lengths in pixels of 2.8 um; the rows
of the native grid lie 2 px apart.
"""

import numpy as np

FOCAL_LENGTH, F_NUMBER, PITCH, WAVELENGTH = 4.44e-3, 1.8, 2.8e-6, 530e-9  # m
FINE = 8  # samples per px of a supersampled kernel


def traced_blur(object_dioptre: float, focus_dioptre: float) -> float:
    """Signed blur diameter in px from two rays through a lens's rim: + if they cross behind the sensor."""
    distance = 1 / object_dioptre
    sensor = 1 / (1 / FOCAL_LENGTH - focus_dioptre)  # where a point at the focus distance is imaged
    heights = []
    for rim in (0.5, -0.5):
        height = rim * FOCAL_LENGTH / F_NUMBER
        slope = height / distance - height / FOCAL_LENGTH  # as it left the object, then bent by the lens
        heights.append(height + slope * sensor)
    return (heights[0] - heights[1]) / PITCH


def field(position) -> np.ndarray:
    """q of the patch centre (x, y)."""
    return np.array([1008 * position[0], 756 * position[1]]) / 1260


def transfer(f_y, f_x) -> np.ndarray:
    """Diffraction x Gaussian aberration of 0.55 px x a box of 1 x 2 px."""
    frequency = np.hypot(f_y, f_x)
    v = np.minimum(frequency / PITCH * WAVELENGTH * F_NUMBER, 1)
    diffraction = (np.arccos(v) - v * np.sqrt(1 - v**2)) * 2 / np.pi
    return diffraction * np.exp(-2 * (np.pi * 0.55 * frequency) ** 2) * np.sinc(f_x) * np.sinc(2 * f_y)


def pupil(diameter: float, position, cells: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Where points of a pupil raster land, (points, 2) px as (x, y), and their weights (2, points)."""
    q = field(position)
    q2 = q @ q
    line = (np.arange(2 * cells) + 0.5) / cells - 1
    u = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    u = u[(u**2).sum(1) <= 1]
    s, ring = 0.98 / (1 + 0.6 * q2), 0.3 + 1.2 * q2
    tilt = min(1.75 * np.sqrt(q2), 1 - s / 2) * (q / np.sqrt(q2) if q2 else q)
    both = 1 + ring * ((u**2).sum(1) - 0.5) - u @ tilt
    weights = np.stack([both + s * u[:, 0], both - s * u[:, 0]])
    along = np.outer(q, q) / q2 if q2 else np.zeros((2, 2))
    stretch = np.eye(2) + 0.42 * q2 * (2 * along - np.eye(2)) if q2 else np.eye(2)
    radius = diameter / 2 * (1 + 0.6 * q2)
    return radius * u @ stretch.T, weights / weights.sum(1, keepdims=True)


def spectrum(diameter: float, position, f_y: np.ndarray, f_x: np.ndarray) -> np.ndarray:
    """Transfer functions (2, h, w) of both views: the sum over the pupil raster times the common factor."""
    points, weights = pupil(diameter, position)
    rows = np.exp(-2j * np.pi * np.outer(f_y.ravel(), points[:, 1]))  # (h, points)
    columns = np.exp(-2j * np.pi * np.outer(f_x.ravel(), points[:, 0]))
    return np.stack([(rows * weight) @ columns.T for weight in weights]) * transfer(f_y, f_x)


def native_kernels(diameter: float, position, height: int, width: int) -> np.ndarray:
    """Kernels (2, height, width) on the periodic native grid, origin [0, 0]: sharp spots at every 1/8 px."""
    rows, columns = 2 * FINE * height, FINE * width
    f_y, f_x = np.fft.fftfreq(height, 2.0), np.fft.fftfreq(width)
    waves_y = np.exp(2j * np.pi * np.outer(np.arange(rows) / FINE, f_y))
    waves_x = np.exp(2j * np.pi * np.outer(np.arange(columns) / FINE, f_x))
    sharp = (waves_y @ transfer(f_y[:, None], f_x[None]) @ waves_x.T).real / (height * width)

    points, weights = pupil(diameter, position)
    raster = np.zeros((2, rows, columns))
    corner = np.floor(points * FINE).astype(int)
    part = points * FINE - corner
    for step_x in (0, 1):
        for step_y in (0, 1):
            share = np.abs(1 - step_x - part[:, 0]) * np.abs(1 - step_y - part[:, 1])
            place = (corner[:, 1] + step_y) % rows, (corner[:, 0] + step_x) % columns
            for view in (0, 1):
                np.add.at(raster[view], place, weights[view] * share)

    kernels = np.zeros((2, height, width))
    for y, x in np.argwhere(np.abs(raster).sum(0)):
        shifted = sharp[np.ix_((2 * FINE * np.arange(height) - y) % rows, (FINE * np.arange(width) - x) % columns)]
        kernels += raster[:, y, x, None, None] * shifted
    return kernels


def convolve(kernel: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Circular convolution of two (h, w) by the explicit sum."""
    out = np.zeros_like(image)
    for y, x in np.ndindex(kernel.shape):
        out += kernel[y, x] * np.roll(image, (y, x), (0, 1))
    return out


def gains(position) -> np.ndarray:
    """Brightness (2,) of the views: cos^4 of the field angle, left/right ratio exp(0.175 + 0.155 x)."""
    angle = np.arctan(np.linalg.norm(field(position)) * 1260 * PITCH / FOCAL_LENGTH)
    half = (0.175 + 0.155 * position[0]) / 2
    return np.cos(angle) ** 4 * np.exp([half, -half])
