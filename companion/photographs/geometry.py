"""How the images of a sweep lie, told by what they show: the shift of left against right, brightness, and noise.

What is told is noted; what is put right, or can't be told, is a warning too.
"""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from companion.photographs.sweeps import Sweep
from fcl.learnaf.intake import views_shift

VISIBLE = 0.6  # px of shift between left and right at the two ends together; a sweep through focus has several
ALIKE = 0.7  # correlation of both views once they are aligned: below, they don't show the same
APART = 0.3  # of two correlations of noise, along rows and along columns
DARKER = 0.99  # of the right view: left is the brighter one all over this sensor (`fcl.optics.view_gain`)
ASK = 'Say in stack.json which distances the images had ("focus_mm") or in which "order" they were taken'


class Geometry(NamedTuple):
    """What must be put right. transposed: portrait files, whose baseline runs along their columns. exchanged: left is right.
    turned: by half, or, of portrait files, mirrored. backwards: from near to far.
    """

    transposed: bool = False
    exchanged: bool = False
    turned: bool = False
    backwards: bool = False

    def lay(self, images: np.ndarray, x: float, y: float) -> tuple[np.ndarray, float, float]:
        """Images (positions, views, rows, columns) and the place of their region, the baseline along the last axis."""
        if self.exchanged:
            images = images[:, ::-1]
        if self.transposed:
            images, x, y = images.swapaxes(-1, -2), y, x
        if self.turned:
            images, x = images[..., ::-1], -x
        if self.turned and not self.transposed:
            images, y = images[..., ::-1, :], -y
        return images, x, y


def geometry(sweep: Sweep, far_first: bool, stated: bool, notes: list[str]) -> Geometry:
    """How a sweep lies. far_first: its first image is the far end, which is known if it is `stated`, else assumed.

    ValueError where two explanations are equally likely.
    """
    if sweep.images.shape[1] == 1:
        portrait = _one_channel(sweep.images, notes)
        if not stated:
            _warn(notes, f"one channel can't tell in which order the lens moved: it is read as far to near. {ASK}")
        return Geometry(transposed=portrait)
    transposed, against, told = _two_views(sweep, far_first, notes)
    exchanged = bool(told and sweep.images[:, 0].mean() < DARKER * sweep.images[:, 1].mean())
    if exchanged:
        against = not against
        if against and not stated:
            raise ValueError(
                f"{sweep.files[0][0].parent}: right is the brighter view. Either left and right are exchanged, and the lens "
                f"moved from near to far, or this is another sensor. {ASK}"
            )
        _warn(notes, "right is the brighter view, which left is in the sensor that is known: they are exchanged")
    if against and not stated:
        _warn(
            notes,
            "left and right say that the lens moved from near to far, and so it is read, or else that the images are turned "
            f"by half. {ASK}",
        )
    elif against:
        _warn(
            notes, f"the images are {'mirrored' if transposed else 'turned by half'}, by their shift: they are turned back"
        )
    return Geometry(transposed, exchanged, turned=against and stated, backwards=against and not stated)


def _warn(notes: list[str], text: str) -> None:
    notes.append(text)
    warnings.warn(text, stacklevel=4)


def _two_views(sweep: Sweep, far_first: bool, notes: list[str]) -> tuple[bool, bool, bool]:
    """(transposed, against, told) of a dual-pixel sweep, by the shift of left against right at its two ends.

    With the lens at the far end everything is nearer than focus, so that the left image lies at greater x; at the near end
    at smaller x. against: it is the other way round. The axis is that of the noise, or else of the larger change.
    """
    shifts = np.array([views_shift(*pair) for pair in sweep.ends])  # (2 ends, 2 axes), px
    change = (shifts[0] - shifts[1]) * (1 if far_first else -1)
    rows, columns = _noise(sweep.images)
    axis = int(rows > columns) if abs(rows - columns) > APART else int(np.abs(change).argmax())
    agree = min(_agreement(*pair, axis, round(shift)) for pair, shift in zip(sweep.ends, shifts[:, axis]))
    if abs(change[axis]) < VISIBLE or agree < ALIKE:
        _warn(notes, "no shift between left and right tells which way the sensor lay: files are taken as they are named")
        return False, False, False
    shown = [f"{shift:+.1f}" for shift in shifts[:, axis]]
    along = "columns: portrait files, transposed" if axis == 0 else "rows"
    notes.append(f"left lies {shown[0]} px beyond right in the first image and {shown[1]} in the last, along the {along}")
    return axis == 0, bool(change[axis] < 0), True


def _agreement(left: np.ndarray, right: np.ndarray, axis: int, shift: int) -> float:
    """Correlation of both views once the right one is shifted."""
    views = [gaussian_filter(np.float32(view), 1).ravel() for view in (left, np.roll(right, shift, axis))]
    return float(np.corrcoef(views)[0, 1]) if min(np.ptp(view) for view in views) else 0.0


def _noise(images: np.ndarray) -> tuple[float, float]:
    """Correlation of the first view's noise between neighbouring rows and columns, from what changes image by image.

    It is high across the baseline, where the read-out is interpolated: between rows as they should lie.
    """
    change = np.diff(images[:, 0].astype(np.float32), axis=0)
    noise = np.stack([frame - gaussian_filter(frame, 2) for frame in change]) if len(change) > 1 else np.zeros((1, 2, 2))
    power = np.square(noise).mean() or 1
    rows, columns = noise[:, 1:] * noise[:, :-1], noise[..., 1:] * noise[..., :-1]
    return float(rows.mean() / power), float(columns.mean() / power)


def _one_channel(images: np.ndarray, notes: list[str]) -> bool:
    """Whether files of one channel are portrait, by their noise."""
    rows, columns = _noise(images)
    portrait = columns - rows > APART
    told = "portrait files, transposed" if portrait else "taken as they are"
    notes.append(f"noise is correlated {rows:.2f} between rows, {columns:.2f} between columns: {told}")
    return portrait
