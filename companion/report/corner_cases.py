"""What makes a test stack hard: its layers, its signal-to-noise ratio; and which stacks a figure shows, by rule.

Shapes
    predictions  (stacks, starts), integers: predicted focal indices, as in fcl.metrics
    layers       (stacks, K): focal indices at which the layers of each scene are sharp, far to near, then NaN
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from companion.runs.identity import ResultsError
from fcl.closed_loop import next_start
from fcl.metrics import errors
from fcl.optics import nearest_index
from fcl.scenes import MARGIN, Scene, make_scene
from fcl.simulator import simulate_stack

TYPICAL_TO_STRIKING = (0.5, 0.75, 0.95, 1.0)  # quantiles at which rows are taken


def scored_scenes(labels: ArrayLike, seed: int, patch: int) -> list[Scene]:
    """The scenes behind simulated stacks, drawn again: number, seed and patch size (px) determine each.

    Raises ResultsError if their labels aren't those of the stacks (stacks,), because then the simulator has changed.
    """
    scenes = [make_scene(seed, number, patch) for number in range(len(labels))]
    if [scene.label() for scene in scenes] != np.asarray(labels).tolist():
        raise ResultsError(
            f"the simulator draws other scenes from seed {seed} than those that were scored: make the results again with "
            "`make figures`"
        )
    return scenes


def layer_indices(scenes: Sequence[Scene]) -> np.ndarray:
    """`layers` of some scenes."""
    indices = (nearest_index(scene.dioptres) for scene in scenes)
    return np.array(list(zip_longest(*indices, fillvalue=np.nan)), dtype=np.float64).T


def layer_switches(predictions: ArrayLike, layers: np.ndarray) -> float:
    """Share of neighbouring starts whose predictions are nearest to different layers, of two as near to the farther one.

    NaN for a single start. Raises ValueError for layers of other stacks.
    """
    predictions = np.asarray(predictions, dtype=np.float64)
    if len(predictions) != len(layers):
        raise ValueError(f"there are predictions for {len(predictions)} stacks but layers of {len(layers)}")
    nearest = np.nanargmin(np.abs(predictions[..., None] - layers[:, None]), axis=-1)
    return float((np.diff(nearest, axis=1) != 0).mean()) if nearest.shape[1] > 1 else float("nan")


def layer_shares(predictions: ArrayLike, labels: ArrayLike, layers: np.ndarray) -> dict[str, float]:
    """Share of predictions at most 1 step from the label, else from another layer, else from none: they sum to 1."""
    true = np.abs(errors(predictions, labels)) <= 1
    other = ~true & (np.nanmin(np.abs(np.asarray(predictions)[..., None] - layers[:, None]), axis=-1) <= 1)
    return {"true layer": float(true.mean()), "other layer": float(other.mean()), "no layer": float((~true & ~other).mean())}


def signal_to_noise(scene: Scene) -> float:
    """How far the structure of a patch in focus stands above the noise of its sensor, in dB.

        20 log10 (s / sqrt(a x + b))

    x and s are mean and standard deviation of the light, all layers in focus at once, clipped at the white level, at unit
    gain of the views; a and b are the scene's noise. Darkness and a lack of texture both lower it; a patch that is white all
    over has -inf.
    """
    light = np.zeros_like(scene.radiance[0])
    for radiance, opacity in zip(scene.radiance, scene.opacity):
        light = opacity * radiance + (1 - opacity) * light
    patch = light[MARGIN // 2 : -MARGIN // 2, MARGIN:-MARGIN].clip(max=1).astype(np.float64)
    a, b = scene.noise
    with np.errstate(divide="ignore"):
        return float(20 * np.log10(patch.std() / np.sqrt(a * patch.mean() + b)))


def at_quantiles(values: ArrayLike, quantiles: Sequence[float]) -> list[int]:
    """Numbers of the stacks at these quantiles of one value per stack (stacks,): 0 the lowest, 1 the highest.

    Each is a stack: the one whose rank is nearest. Equal values rank in the order of the stacks.

    >>> at_quantiles([30, 10, 20], [0, 0.5, 1])
    [1, 2, 0]
    """
    order = np.argsort(values, kind="stable")
    return [int(order[round(quantile * (len(order) - 1))]) for quantile in quantiles]


def at_truth(predictions: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Prediction (stacks,) from the true slice of each stack; where m frames don't fit there, from the last start."""
    predictions = np.asarray(predictions)
    return predictions[np.arange(len(predictions)), next_start(labels, predictions.shape[1])]


def corner_rows(curves: Mapping[str, np.ndarray], labels: np.ndarray, among: np.ndarray) -> pd.DataFrame:
    """Rows of Figures C to F, by rule: a column each for input, outputs and ground truth, a row per stack.

    curves: title -> predictions (stacks, starts); the first is the baseline; among (stacks,) bool: the category. The stacks
    are those at TYPICAL_TO_STRIKING of the baseline's mean error over starts. The input of each is the first start, of those
    that all curves have, at which the baseline's error is nearest to that mean.
    """
    starts = min(curve.shape[1] for curve in curves.values())
    sizes = np.abs(errors(next(iter(curves.values())), labels))[:, :starts]
    candidates, rows = np.flatnonzero(among), {}
    for stack in candidates[at_quantiles(sizes.mean(1)[candidates], TYPICAL_TO_STRIKING)]:
        start = int(np.abs(sizes[stack] - sizes[stack].mean()).argmin())
        outputs = {title: int(curve[stack, start]) for title, curve in curves.items()}
        rows[int(stack)] = {"input": start} | outputs | {"ground truth": int(labels[stack])}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("stack")


def hunting_rows(
    curves: Mapping[str, np.ndarray], labels: np.ndarray, stacks: Sequence[int], names: Mapping[str, str]
) -> dict[str, Any]:
    """What `companion.report.plots_stacks.hunting_figure` draws of some stacks, but for the slices.

    curves: name -> predictions (stacks, starts); names: name -> title. The patches are the true slice and what each network
    answers when it looks at just that (`at_truth`).
    """
    answers = np.stack([labels, *(at_truth(curve, labels) for curve in curves.values())], axis=1)
    return {
        "curves": {f"stack {stack}": {name: curve[stack] for name, curve in curves.items()} for stack in stacks},
        "labels": labels[stacks],
        "indices": answers[stacks],
        "titles": ["truth", *(names.get(name, name) for name in curves)],
        "names": names,
    }


def slices_of(scenes: Sequence[Scene], seed: int, stacks: Sequence[int], indices: np.ndarray) -> list[np.ndarray]:
    """Slices (k, H, W), mean of both views, of each of some test stacks at its indices (rows, k), simulated again."""
    return [simulate_stack(scenes[stack], seed, stack)[row].mean(1) for stack, row in zip(stacks, indices, strict=True)]
