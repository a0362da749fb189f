"""The paper profile on one GPU: a step and its parts, a plain loop, and the hours of a supplement."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from torch.utils.benchmark import Timer

from benchmarks import measure
from benchmarks.training import STACKS, STEPS, joined, plain_loop
from companion.experiments import groups, read_experiment
from fcl.rendered import RenderedStacks
from fcl.simulator import SPLIT_SEEDS, simulate_stacks
from fcl.training import _Run

SECONDS = 3.0  # that each part is repeated for
SUPPLEMENT = ("table_a", "table_b", "table_c")  # its experiments with AFPE


def run_of(profile: str, device: str, setting: str = "D1") -> _Run:
    """A training whose slices are rendered on the device."""
    config = joined(profile, STACKS, setting)
    return _Run(config, RenderedStacks(STACKS, SPLIT_SEEDS["train"], config.patch, device), device)


def steps(profile: str, device: str) -> measure.Work:
    """Training steps of D1."""
    run = run_of(profile, device)
    return lambda: [run.step() for _ in range(STEPS)]


def iterations(profile: str) -> Counter[str]:
    """Iterations of one seed of the supplement, by setting; those that several methods share count once."""
    planned = [group for name in SUPPLEMENT for group in groups(read_experiment(name, profile), profile, seed=0)]
    runs = {(config, method) for config, methods in planned for method in methods}
    counts = Counter()
    for config, methods in Counter(config for config, _ in runs).items():
        counts[config.setting] += config.trunk_iterations + methods * (config.iterations - config.trunk_iterations)
    return counts


def section(folder: Path, profile: str = "paper", device: str = "cuda") -> Iterator[str]:
    """One GPU. (On "cpu" it shows only that the code works.)"""
    run = run_of(profile, device)

    def seconds(work: measure.Work) -> float:
        return Timer("work()", globals={"work": work}).blocked_autorange(min_run_time=SECONDS).median

    step, data = seconds(run.step), seconds(run.batch)
    yield measure.line("D1: a training step", 1e3 * step, "ms")
    yield measure.line("  of which slices, rendered on the device", 100 * data / step, "%")
    yield measure.line("  of which Adam", 100 * seconds(run.optimizer.step) / step, "%")
    yield measure.line("  left/right slices rendered", run.config.batch / data, "per second")
    stacks = simulate_stacks(STACKS, SPLIT_SEEDS["train"], run.config.patch, folder=folder / "gpu", device=device)
    losses = plain_loop(run.config, stacks, workers=4, device=device)
    plain = seconds(lambda: next(losses))
    yield measure.line("  the plain loop's, on stored stacks, over it", plain / step, "x", "at least 3")
    yield measure.line("  two trainings at once over one", measure.gain_of_two(partial(steps, profile, device)), "x")
    counts = iterations(profile).items()
    hours = sum(count * seconds(run_of(profile, device, setting).step) for setting, count in counts) / 3600
    yield measure.line("AFPE: the supplement's trainings of one seed, one after another", hours, "hours", "at most 6")
