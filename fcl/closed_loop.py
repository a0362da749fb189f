"""The closed loop: the lens goes where the network says, looks again, and so on. It needs NumPy alone.

From start i the lens takes m frames (i to i+m-1), goes to the predicted index k and looks again from min(k, 49-m). A
trained network without noise is thus a map of the starts of a stack to themselves: from any start the lens comes to rest
at a fixed point, or is caught in a cycle and hunts for ever. That is found exactly here, from stored predictions.

Shapes, as in fcl.metrics
    predictions  (stacks, starts), integers 0..48: where the lens goes from each start; starts = 50 - m
    labels       (stacks,), integers: the true indices

Words
    position     where the lens stands: at the start to begin with, afterwards at the last prediction. The steps between
                 the frames of one look are no moves.
    move         from one position to the next; none where they are equal
    rest         two equal predictions running: it then looks from the same start for ever and nothing can change any more
"""

import numpy as np
from numpy.typing import ArrayLike

from fcl.metrics import errors

INDICES = 49
SETTLED = 1  # steps of the focal index: so near the label, rest is right


def next_start(predictions: ArrayLike, starts: int) -> np.ndarray:
    """Where the lens looks again: min(k, starts - 1), as m = 50 - starts frames must fit. Any shape, kept."""
    return np.minimum(predictions, starts - 1)


def overshoot(predictions: ArrayLike) -> np.ndarray:
    """Where a lens ends that goes one index too far in the direction of each non-zero move.

        k + sign(k - i), clipped to 0..48, for start i

    predictions (stacks, starts). The result takes the place of predictions in every function of this file.
    """
    k = np.asarray(predictions, dtype=np.int64)
    return np.clip(k + np.sign(k - np.arange(k.shape[1])), 0, INDICES - 1)


def path(predictions: ArrayLike, start: int) -> list[int]:
    """Positions of the lens in one stack: the start, then each prediction.

    predictions (starts,). It ends when the lens would look from a start for the second time: there it rests if this is the
    start it has just looked from, and is in a cycle if not.

    >>> path([1, 0, 2], start=0)
    [0, 1, 0]
    """
    positions, seen = [start], set()
    while start not in seen:
        seen.add(start)
        positions.append(int(predictions[start]))
        start = int(next_start(positions[-1], len(predictions)))
    return positions


def trajectories(predictions: ArrayLike, labels: ArrayLike) -> dict[str, np.ndarray]:
    """What becomes of the lens from every start of every stack: arrays (stacks, starts), one for each name.

    settles_right, settles_wrong, cycles: bool, exactly one is true. It rests at most 1 from the label, it rests elsewhere,
        it never rests.
    reversal_rate: bool, two non-zero moves, one after the other but for zero moves, have opposite signs (Zhu et al., CVPR
        2025). Every cycle has such a reversal, and a lens that corrects itself before it rests has one too.
    moves: non-zero moves until rest. NaN in a cycle.
    final_error: |k - label| of the prediction where it rests; in a cycle the mean over its predictions, which is the mean
        error of a lens that is stopped after many looks, at random.
    travel: indices that the lens moves until rest, with the look that confirms the last prediction: m - 1 steps within each
        look, from there to the prediction, and back to the next start where m frames don't fit after it. NaN in a cycle.

    Raises ValueError for arrays of other shapes or types, and for predictions outside 0..48.
    """
    error = np.abs(errors(predictions, labels))
    k = np.asarray(predictions, dtype=np.int64)
    starts = k.shape[1]
    if k.min() < 0 or k.max() >= INDICES or starts > INDICES:
        raise ValueError(f"predictions must be indices 0..{INDICES - 1} for at most {INDICES} starts, "
                         f"got {k.min()}..{k.max()} for {starts}")
    follow, start, steps = next_start(k, starts), np.arange(starts), INDICES - starts  # steps between m frames
    look = steps + np.abs(k - (start + steps))  # travel of one look and of the move after it

    def at(place: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, place, axis=1)

    place = position = np.broadcast_to(start, k.shape)
    previous = np.full(k.shape, -1)  # none yet
    moves, travel, direction = (np.zeros(k.shape, np.int64) for _ in range(3))
    reversal, rests = np.zeros(k.shape, bool), np.zeros(k.shape, bool)
    for _ in range(starts + 1):  # by then every lens is at rest, or once around its cycle
        prediction, following = at(place, k), at(place, follow)
        sign = np.sign(prediction - position)
        reversal |= sign * direction < 0
        direction = np.where(sign, sign, direction)
        moves += sign != 0
        travel += ~rests * at(place, look)
        rests |= prediction == previous
        travel += ~rests * (prediction - following)
        place, position, previous = following, prediction, prediction

    home, around = place, np.ones(k.shape, bool)
    total, length = np.zeros(k.shape), np.zeros(k.shape)
    for _ in range(starts):  # once around the cycle; a fixed point is one of length 1
        total, length = total + around * at(place, error), length + around
        place = at(place, follow)
        around &= place != home
    final_error = total / length
    return {
        "settles_right": rests & (final_error <= SETTLED),
        "settles_wrong": rests & (final_error > SETTLED),
        "cycles": ~rests,
        "reversal_rate": reversal,
        "moves": np.where(rests, moves, np.nan),
        "final_error": final_error,
        "travel": np.where(rests, travel, np.nan),
    }


def outcomes(predictions: ArrayLike, labels: ArrayLike, start: int | None = None) -> dict[str, float]:
    """Means of `trajectories` over all stacks and starts, or over one start alone (0: where phones begin).

    The first four are shares. moves and travel are means over the trajectories that come to rest; NaN if none does.

    >>> outcomes([[1, 0, 2]], labels=[2])["cycles"]  # from 0 to 1 and back, and rest at 2
    0.6666666666666666
    """
    means = {}
    for name, values in trajectories(predictions, labels).items():
        values = values if start is None else values[:, start]
        values = values[~np.isnan(values)]
        means[name] = float(values.mean()) if values.size else float("nan")
    return means
