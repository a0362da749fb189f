"""The lens and the dual-pixel sensor: focus distances, blur, point spread functions. Physics only, no network.

Shape legend: B patches, h x w the sampling grid; positions are patch centres (x, y) in [-1, 1] over the full frame, the
dual-pixel baseline along x (the last axis), lengths in pixels of 2.8 um unless a unit is given.

Sources. Camera: the Pixel 3 rig of "Learning to Autofocus" (Herrmann et al., CVPR 2020). Kernel: a closed form fitted to the
public Pixel 4 dual-pixel kernels of Xin et al. (ICCV 2021); one set of constants describes all field positions with a
relative error of about 0.2, half that of a kernel that ignores the field. It was fitted for |q| <= 0.57 and is extrapolated
beyond.
"""

import functools
import math

import numpy as np
import torch
from scipy.special import jv
from torch import Tensor

# fmt: off
FOCUS_DISTANCES_MM = np.array([
    3910.92, 2289.27, 1508.71, 1185.83, 935.91, 801.09, 700.37, 605.39, 546.23, 486.87, 447.99, 407.40, 379.91,
    350.41, 329.95, 307.54, 291.72, 274.13, 261.53, 247.35, 237.08, 225.41, 216.88, 207.10, 198.18, 191.60, 183.96,
    178.29, 171.69, 165.57, 160.99, 155.61, 150.59, 146.81, 142.35, 138.98, 134.99, 131.23, 127.69, 124.99, 121.77,
    118.73, 116.40, 113.63, 110.99, 108.47, 106.54, 104.23, 102.01,
])
# fmt: on
"""The 49 focus distances of the public data set, far (index 0) to near (48)."""
FOCUS_DISTANCES_MM.flags.writeable = False
FOCUS_DIOPTRES = 1000.0 / FOCUS_DISTANCES_MM
"""The same in dioptres (1/m): 0.256 to 9.803, about 0.2 apart but not evenly."""
FOCUS_DIOPTRES.flags.writeable = False

FOCAL_LENGTH = 4.44e-3  # m
F_NUMBER = 1.8
PIXEL_PITCH = 2.8e-6  # m, along the baseline; the native read-out is twice that across it
WAVELENGTH = 530e-9  # m
ABERRATION_SIGMA = 0.55  # px, Gaussian; between the 0.4 and 0.7 fitted over the field
FRAME = (1512, 2016)  # rows, columns
HALF_DIAGONAL = 1260.0  # px

RADIUS_GROWTH = 0.6  # the blur circle grows as 1 + 0.6 |q|^2
VIEW_SLOPE = 0.98  # s on the axis: how steeply the weight of one view falls across the pupil
FIELD_SLOPE = 1.75  # tau, fitted values 1.6-1.9: the tilt common to both views
RING = (0.3, 1.2)  # ring = 0.3 + 1.2 |q|^2: brighter towards the rim of the disk
ELONGATION = 0.42  # radial stretch 1 + 0.42 |q|^2, tangential 1 - 0.42 |q|^2


def blur_diameter(object_dioptre, focus_dioptre):
    """Signed circle-of-confusion diameter in pixels, positive when the object is nearer than focus.

    c = f^2 / (N p (1 - f D_f)) (D_o - D_f), exact for a thin lens, with the focal length f, f-number N and pixel pitch p.
    Works on floats, arrays and tensors of dioptres, broadcasting them.
    """
    return FOCAL_LENGTH**2 / (F_NUMBER * PIXEL_PITCH * (1 - FOCAL_LENGTH * focus_dioptre)) * (object_dioptre - focus_dioptre)


def magnification(focus_dioptre):
    """Image scale 1 / (1 - f D_f): focus breathing, +4.4 % from the far to the near end."""
    return 1 / (1 - FOCAL_LENGTH * focus_dioptre)


def nearest_index(dioptre):
    """Focal index whose focus distance is nearest in dioptres to `dioptre` (float or array)."""
    return np.abs(np.asarray(dioptre)[..., None] - FOCUS_DIOPTRES).argmin(-1)


def field_position(position: Tensor) -> Tensor:
    """q = (1008 x, 756 y) / 1260 px for positions (..., 2): |q| = 1 at the corner of the frame."""
    return position * position.new_tensor([FRAME[1] / 2, FRAME[0] / 2]) / HALF_DIAGONAL


def view_gain(position: Tensor) -> Tensor:
    """Brightness (..., 2) of the left and right view at positions (..., 2): vignetting cos^4 times the views' imbalance.

    The measured left/right ratio runs from 1.02 at one side of the frame to 1.39 at the other.
    """
    tangent = field_position(position).norm(dim=-1) * HALF_DIAGONAL * PIXEL_PITCH / FOCAL_LENGTH
    half_log_ratio = 0.5 * (0.175 + 0.155 * position[..., 0])
    return (1 + tangent**2).pow(-2)[..., None] * torch.stack([half_log_ratio, -half_log_ratio], -1).exp()


def frequency_grid(height: int, width: int, row_pitch: float = 1.0, device="cpu") -> tuple[Tensor, Tensor]:
    """Frequencies (f_y (h, 1), f_x (1, w//2 + 1)) in cycles per pixel of `torch.fft.rfft2` on rows `row_pitch` px apart."""
    return (torch.fft.fftfreq(height, row_pitch, device=device)[:, None], torch.fft.rfftfreq(width, device=device)[None])


def modulation_transfer(f_y: Tensor, f_x: Tensor) -> Tensor:
    """MTF (h, w) of what doesn't change with focus: diffraction x Gaussian aberration x the native 1 x 2 px aperture."""
    frequency = torch.sqrt(f_x**2 + f_y**2)
    v = (frequency * WAVELENGTH * F_NUMBER / PIXEL_PITCH).clamp(max=1)
    diffraction = 2 / math.pi * (torch.acos(v) - v * torch.sqrt(1 - v**2))
    aberration = torch.exp(-2 * (math.pi * ABERRATION_SIGMA * frequency) ** 2)
    return diffraction * aberration * torch.sinc(f_x) * torch.sinc(2 * f_y)


MAX_DIAMETER = 40.0  # px; the near end seen with the lens at the far end gives 39
Z_STEP = 1 / 256  # the nearest row is then off by at most 7e-4, far below the fit's own error
Z_MAX = 256.0  # the camera's largest blur in the corner of the frame reaches 156


@functools.cache
def _bessel_table(device: str) -> Tensor:
    """(2 J1/z, J3/z, 2 J2/z^2, 0) at z = 0, 1/256, ...; the four float32 count as one number, to be fetched at once.

    The odd term is kept divided by z once more: multiplied by the exact signed z it stays exact for small blurs.
    """
    z = np.arange(0, Z_MAX, Z_STEP)[1:]
    rows = np.stack([2 * jv(1, z) / z, jv(3, z) / z, 2 * jv(2, z) / z**2, 0 * z], 1)
    values = torch.tensor(np.concatenate([[[1, 0, 0.25, 0]], rows]), dtype=torch.float32, device=device)
    return values.view(torch.complex128)[:, 0]


def view_slope(position: Tensor) -> Tensor:
    """s (...) at positions (..., 2): the left and right centroids lie s r/2 apart on the axis, r the signed blur radius."""
    return VIEW_SLOPE / (1 + RADIUS_GROWTH * field_position(position).square().sum(-1))


class DualPixelLens:
    """Transfer functions of both views for patches at fixed field positions, on one frequency grid.

    The pupil point u (|u| <= 1) reaches the sensor at r E u with weight 1 + ring (|u|^2 - 1/2) - tau q.u +- s u_x (+ left, -
    right); E stretches the disk radially. The transform of that disk is closed: with z = 2 pi r |E f|, r signed,

        K = MTF [ 2 J1(z)/z - ring J3(z)/z - i (-tau q +- s e_x).(E f / |E f|) 2 J2(z)/z ],

    so the odd last term flips by itself when the object passes through focus. The tilt tau |q| is limited to 1 - s/2, beyond
    which the weight would be clearly negative.
    """

    def __init__(self, position: Tensor, f_y: Tensor, f_x: Tensor):
        q = field_position(position)[:, None, None]  # (B, 1, 1, 2)
        radius2 = q.square().sum(-1)  # (B, 1, 1)
        norm = radius2.sqrt()
        angle = torch.atan2(q[..., 1], q[..., 0])  # any direction will do on the axis, where nothing is stretched
        radial_x, radial_y = angle.cos(), angle.sin()
        f_radial, f_tangential = f_x * radial_x + f_y * radial_y, f_y * radial_x - f_x * radial_y
        e_radial, e_tangential = f_radial * (1 + ELONGATION * radius2), f_tangential * (1 - ELONGATION * radius2)
        stretched = torch.sqrt(e_radial**2 + e_tangential**2)  # |E f|, (B, h, w)
        unit_radial, unit_tangential = (e / stretched.clamp_min(1e-9) for e in (e_radial, e_tangential))
        slope = view_slope(position)[:, None, None]
        tilt = torch.minimum(FIELD_SLOPE * norm, 1 - slope / 2)
        mtf = modulation_transfer(f_y, f_x)
        self.growth = (1 + RADIUS_GROWTH * radius2)[:, None]  # (B, 1, 1, 1), over slices
        self.frequency = (2 * math.pi * stretched)[:, None]  # z per px of radius, (B, 1, h, w)
        self.mtf = mtf[None, None]
        self.ring = ((RING[0] + RING[1] * radius2) * mtf)[:, None]
        self.common = (tilt * unit_radial * mtf)[:, None]
        self.split = (slope * (unit_radial * radial_x - unit_tangential * radial_y) * mtf)[:, None]

    def __call__(self, diameter: Tensor) -> Tensor:
        """Spectra (B, k, 2, h, w//2 + 1), complex, of the left and right kernels for signed diameters (B, k) in pixels."""
        radius = diameter[..., None, None] / 2 * self.growth
        z = radius * self.frequency  # signed
        steps = (z.abs() / Z_STEP).round_().long()
        rows = _bessel_table(str(diameter.device)).take(steps)[..., None].view(torch.float32)  # (B, k, h, w//2 + 1, 4)
        real = rows[..., 0] * self.mtf - rows[..., 1] * self.ring
        odd = rows[..., 2] * z
        common, split = odd * self.common, odd * self.split
        return torch.stack([torch.complex(real, common - split), torch.complex(real, common + split)], 2)


def dual_pixel_kernels(diameter_px: float, position: tuple[float, float], size: int) -> Tensor:
    """Left and right point spread functions (2, size, size), each summing to 1, centred on pixel size // 2.

    `diameter_px` is signed (`blur_diameter`), `position` the patch centre (x, y) in [-1, 1]. For an object nearer than focus
    the left kernel's centroid lies at +x, the right one's at -x. Equation: `DualPixelLens`. Values may be slightly negative
    where the fitted weight is. Raises ValueError where the kernel doesn't fit into `size` pixels or the position is off the
    frame.
    """
    place = torch.tensor(position, dtype=torch.float32)
    if place.shape != (2,) or not bool((place.abs() <= 1).all()):
        raise ValueError(f"position must be (x, y) with both in [-1, 1], not {position!r}")
    if not abs(diameter_px) <= MAX_DIAMETER:
        raise ValueError(f"diameter_px must lie within +-{MAX_DIAMETER} px, this camera's largest blur, not {diameter_px!r}")
    field2 = float(field_position(place).square().sum())
    reach = abs(diameter_px) / 2 * (1 + RADIUS_GROWTH * field2) * (1 + ELONGATION * field2) + 4
    if not size >= 2 * reach:
        raise ValueError(f"a kernel of diameter {diameter_px} px needs size >= {math.ceil(2 * reach)}, not {size}")
    lens = DualPixelLens(place[None], *frequency_grid(size, size))
    kernels = torch.fft.irfft2(lens(torch.tensor([[float(diameter_px)]])), s=(size, size))[0, 0]
    return kernels.roll((size // 2, size // 2), (-2, -1))
