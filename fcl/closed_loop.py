"""The closed loop: the lens goes where the network says, looks again, and so on. It needs NumPy alone.

From start i the lens takes m frames (i to i+m-1), goes to the predicted index k and looks again from min(k, 49-m). A trained
network without noise is thus a map of the starts of a stack to themselves: from any start the lens comes to rest at a fixed
point, or is caught in a cycle and hunts for ever. That is found exactly here, from stored predictions.

Shapes, as in fcl.metrics
    predictions  (stacks, starts), integers 0..48: where the lens goes from each start; starts = 50 - m
    labels       (stacks,), integers: the true indices

Words
    position     where the lens stands: at the start to begin with, afterwards at the last prediction. The steps between
                 the frames of one look are no moves.
    move         from one position to the next; zero where they are equal, which ends in rest unless it is the first
    rest         two equal predictions running: it then looks from the same start for ever and nothing can change any more
"""

import numpy as np
from numpy.typing import ArrayLike

from fcl.metrics import errors
from fcl.settings import N

SETTLED = 1  # steps of the focal index: so near the label, rest is right


def next_start(predictions: ArrayLike, starts: int) -> np.ndarray:
    """Where the lens looks again: min(k, starts - 1), as m = 50 - starts frames must fit. Any shape, kept."""
    return np.minimum(predictions, starts - 1)


def overshoot(predictions: ArrayLike) -> np.ndarray:
    """Where a lens ends that goes one index too far in the direction in which it goes to each prediction.

        k + sign(k - (i + m - 1)), clipped to 0..48, for start i: it comes from the last of the m frames

    predictions (stacks, starts). The result takes the place of predictions in every function of this file.
    """
    k = np.asarray(predictions, dtype=np.int64)
    stands = np.arange(k.shape[1]) + N - k.shape[1]
    return np.clip(k + np.sign(k - stands), 0, N - 1)


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
    reversal_rate: bool, two non-zero moves running have opposite signs (Zhu et al., CVPR 2025). Every cycle has such a
        reversal, and a lens that corrects itself before it rests has one too.
    moves: non-zero moves until rest. NaN in a cycle.
    final_error: |k - label| of the prediction where it rests; in a cycle the mean over its predictions, which is the mean
        error of a lens that is stopped after many looks, at random.
    span: indices from one end of its cycle to the other. NaN at rest.
    travel: indices that the lens moves until rest, with the look that confirms the last prediction: m - 1 steps within each
        look, from there to the prediction, and back to the next start where m frames don't fit after it. NaN in a cycle.

    Raises ValueError for arrays of other shapes or types, and for predictions outside 0..48.
    """
    errors(predictions, labels)  # complains about wrong arrays
    k = np.asarray(predictions, dtype=np.int64)
    starts = k.shape[1]
    if k.min() < 0 or k.max() >= N or starts > N:
        raise ValueError(
            f"predictions must be indices 0..{N - 1} for at most {N} starts, got {k.min()}..{k.max()} for {starts}"
        )
    turns = _turns(k)
    looks = np.empty((*k.shape, 2 * turns + 1), np.int16)  # wide enough for a product of two moves
    place = np.broadcast_to(np.arange(starts), k.shape)
    for look in range(looks.shape[-1]):
        looks[..., look] = np.take_along_axis(k, place, axis=1)
        place = next_start(looks[..., look], starts)
    final = looks[..., turns + 1 :]  # every lens is at rest or in its cycle, and goes round once
    once = (final == final[..., :1]).cumsum(-1, dtype=np.int16) == 1  # a fixed point is a cycle of length 1
    error = np.abs(final - np.asarray(labels, np.int16)[:, None, None])
    outcome = measure(looks[..., : turns + 1], (error * once).sum(-1) / once.sum(-1))
    return outcome | {"span": np.where(outcome["cycles"], np.ptp(final, axis=-1), np.nan)}


def _turns(k: np.ndarray) -> int:
    """Looks until every lens of every stack looks from a start for the second time: by then it has gone round its cycle."""
    starts = k.shape[1]
    place = np.broadcast_to(np.arange(starts), k.shape)
    seen, turns = np.zeros(k.shape, np.int64), 0  # a bit for each start
    while not (seen >> place & 1).all():
        seen |= np.left_shift(1, place)
        place = next_start(np.take_along_axis(k, place, axis=1), starts)
        turns += 1
    return turns


def measure(looks: np.ndarray, final_error: np.ndarray) -> dict[str, np.ndarray]:
    """As `trajectories`, of given trajectories.

    looks (stacks, starts, looks): one prediction after the other, repeated once the lens rests. Whatever doesn't rest within
    these looks counts as a cycle. final_error (stacks, starts).
    """
    starts = looks.shape[1]
    steps = N - starts  # between the m frames of a look
    begin = np.broadcast_to(np.arange(starts, dtype=looks.dtype)[:, None], (*looks.shape[:2], 1))
    moves = np.diff(looks, axis=-1, prepend=begin)
    places = np.concatenate([begin, next_start(looks, starts)], axis=-1)  # where each look begins, and the one after
    rests = looks[..., -1] == looks[..., -2]
    resting = np.logical_or.accumulate(moves[..., 1:] == 0, axis=-1)  # at rest, from the second look on
    looking = np.pad(~resting, [(0, 0), (0, 0), (2, 0)], constant_values=True)[..., :-1]  # until the confirming look
    travel = looking * (steps + np.abs(looks - (places[..., :-1] + steps)))
    travel[..., :-1] += looking[..., 1:] * (looks - places[..., 1:])[..., :-1]
    right = final_error <= SETTLED
    return {
        "settles_right": rests & right,
        "settles_wrong": rests & ~right,
        "cycles": ~rests,
        "reversal_rate": (moves[..., 1:] * moves[..., :-1] < 0).any(-1),
        "moves": np.where(rests, np.count_nonzero(moves, axis=-1), np.nan),
        "final_error": final_error,
        "travel": np.where(rests, travel.sum(-1), np.nan),
    }


def sweep_travel(labels: ArrayLike, frames: int, increasing: bool = True) -> np.ndarray:
    """Indices (stacks, 49) that a lens moves from each start to take m frames in one order and go to the label.

        m - 1 + |g - (i + (m - 1))|,    or |g - (i - (m - 1))| in decreasing order

    The answer is taken to be right, so labels alone decide. NaN where the frames would leave 0..48.
    """
    steps, start = frames - 1, np.arange(N)
    end = start + steps if increasing else start - steps
    travel = steps + np.abs(np.asarray(labels, dtype=np.int64)[:, None] - end)
    return np.where((end >= 0) & (end < N), travel, np.nan)


def means(outcome: dict[str, np.ndarray], start: int | None = None) -> dict[str, float]:
    """Means over all stacks and starts, or over one start alone (0: where phones begin).

    The first four of `trajectories` become shares. moves and travel are means over the trajectories that come to rest; NaN
    if none does.
    """
    chosen = {name: values if start is None else values[:, start] for name, values in outcome.items()}
    numbers = {name: values[~np.isnan(values)] for name, values in chosen.items()}
    return {name: float(values.mean()) if values.size else float("nan") for name, values in numbers.items()}


def outcomes(predictions: ArrayLike, labels: ArrayLike, start: int | None = None) -> dict[str, float]:
    """`means` of `trajectories`.

    >>> outcomes([[1, 0, 2]], labels=[2])["cycles"]  # from 0 to 1 and back, and rest at 2
    0.6666666666666666
    """
    return means(trajectories(predictions, labels), start)
