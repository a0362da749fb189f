"""Autofocus without learning, to compare with: phase detection and contrast hill climbing. It needs NumPy alone.

Shape legend: k slices of one stack, two views (left, right), H x W the patch, in sensor counts or any other linear unit.
"""

import numpy as np

STEPS = (4, 1)  # indices: first coarse, then fine


def zero_shift_correlation(slices: np.ndarray) -> np.ndarray:
    """Correlation coefficient of the left with the right view, unshifted: (k, 2, H, W) -> (k,), in [-1, 1].

    In focus both views see every point at the same place; out of focus they shift against each other. So the index of the
    highest value of a whole stack is phase detection's. A view without any structure correlates with nothing: 0.
    """
    views = slices.reshape(*slices.shape[:2], -1).astype(np.float64)
    views = views - views.mean(-1, keepdims=True)
    size = np.sqrt(np.square(views).sum(-1)).prod(-1)
    return (views[:, 0] * views[:, 1]).sum(-1) / np.where(size > 0, size, 1)


def gradient_energy(slices: np.ndarray) -> np.ndarray:
    """Sharpness: mean squared gradient of the mean of both views, by central differences, (k, 2, H, W) -> (k,)."""
    rows, columns = np.gradient(slices.mean(1, dtype=np.float64), axis=(-2, -1))
    return (rows**2 + columns**2).mean((-2, -1))


def hill_climb(sharpness: np.ndarray, start: int, steps: tuple[int, ...] = STEPS) -> tuple[int, int, int]:
    """Index where a lens stops that climbs from `start`, the number of looks it needs, and the indices it travels.

    With each step width in turn it goes on, up and then down, as long as the next slice is sharper. sharpness (indices,) is
    that of a whole stack; a look is at one slice, and none is looked at twice. The way back to the best slice is travelled,
    too.
    """
    best, looked = start, [start]
    for step in steps:
        for way in (step, -step):
            while 0 <= best + way < len(sharpness):
                if best + way not in looked:
                    looked.append(best + way)
                if not sharpness[best + way] > sharpness[best]:
                    break
                best += way
    return best, len(looked), int(np.abs(np.diff([*looked, best])).sum())
