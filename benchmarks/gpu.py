"""The paper profile on one GPU: a step and its parts, a plain loop, and the hours of a supplement."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from benchmarks import plain
from benchmarks.measure import Measurement, repeat
from benchmarks.training import joined
from companion.experiments import groups, read_experiment
from fcl.config import Config
from fcl.rendered import RenderedStacks
from fcl.settings import parse_setting
from fcl.simulator import SPLIT_SEEDS, simulate_stacks
from fcl.training import _Run

STACKS = 256  # fewer than the profile's, as their scenes take longest to make
SECONDS = 3.0  # that each part is repeated for
SUPPLEMENT = ("table_a", "table_b", "table_c")  # its experiments with AFPE


@cache
def _rendered(patch: int, device: str) -> RenderedStacks:
    return RenderedStacks(STACKS, SPLIT_SEEDS["train"], patch, device)


def run_of(profile: str, device: str, setting: str = "D1") -> _Run:
    """A training whose slices are rendered on the device."""
    config = joined(profile, STACKS, setting=setting)
    return _Run(config, _rendered(config.patch, device), device)


def iterations(profile: str) -> Counter[str]:
    """Iterations of one seed of the supplement, by setting; those that several methods share count once."""
    methods: dict[Config, set[str]] = defaultdict(set)
    for name in SUPPLEMENT:
        for config, named in groups(read_experiment(name, profile), profile, seed=0):
            methods[config].update(named)
    counts = Counter()
    for config, named in methods.items():
        shared = config.trunk_iterations
        counts[config.setting] += shared + (config.iterations - shared) * len(named)
    return counts


def section(folder: Path, profile: str = "paper", device: str = "cuda") -> Iterator[Measurement]:
    """One GPU. On the device "cpu" it only shows that the code works."""
    run = run_of(profile, device)
    step, data = (repeat(work, device, SECONDS).median for work in (run.step, run.batch))
    update = repeat(run.optimizer.step, device, SECONDS).median  # with the gradients of the last step
    yield Measurement("D1: a training step", 1e3 * step, "ms")
    yield Measurement("  of which slices, rendered on the device", 100 * data / step, "%")
    yield Measurement("  of which Adam", 100 * update / step, "%")
    pairs = run.config.batch * parse_setting(run.config.setting).frames
    yield Measurement("  left/right slices rendered", pairs / data, "per second")

    stacks = simulate_stacks(STACKS, SPLIT_SEEDS["train"], run.config.patch, folder=folder / "gpu", device=device)
    losses = plain.train(run.config, stacks, workers=4, device=device)
    slow = repeat(lambda: next(losses), device, SECONDS).median
    yield Measurement("  the plain loop's, on stored stacks, over it", slow / step, "x", "at least 3")

    hours = 0.0
    for setting, count in iterations(profile).items():
        hours += count * repeat(run_of(profile, device, setting).step, device, SECONDS).median / 3600
    yield Measurement("AFPE: the supplement's trainings of one seed, one after another", hours, "hours", "at most 6")
