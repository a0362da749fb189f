"""What a simulated focal stack costs."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks import measure
from benchmarks.measure import Measurement, Work
from fcl.scenes import CATEGORIES, make_scene
from fcl.simulator import simulate_stack


def stacks(patch: int) -> Work:
    """A whole stack of each category: scene, optics with occlusion, and sensor."""
    return lambda: [simulate_stack(make_scene(0, number, patch), 0, number) for number in range(len(CATEGORIES))]


def section(folder: Path) -> Iterator[Measurement]:
    """Stacks of the laptop's and of the paper's patches."""
    costs = measure.compare({patch: partial(stacks, patch) for patch in (64, 128)})
    for patch, cost in costs.items():
        yield Measurement(
            f"a whole stack of {patch} px, the mean of all categories", 1e3 * cost / len(CATEGORIES), "core-ms"
        )
