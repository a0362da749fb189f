"""The paper profile on one GPU: a step and its parts against their floor and a plain loop, and the hours of a supplement.

`device` may be "cpu" to try the code; its numbers then say nothing about a GPU.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain
from benchmarks.measure import Measurement, clock, limits, together
from companion.batch import plan
from companion.experiments import groups, read_experiment
from companion.profiles import profile_config
from fcl.config import Config
from fcl.rendered import RenderedStacks
from fcl.simulator import SPLIT_SEEDS, simulate_stacks
from fcl.training import _Run

STACKS = 256  # in the plain loop, which reads stored stacks
ROUNDS = 5
SUPPLEMENT = ("table_a", "figure_b", "table_b", "table_c")  # the experiments of the supplement itself


def paper(profile: str, **changes: object) -> Config:
    """The profile's training of FCL on fewer stacks, from its first step with the consistency loss."""
    config = profile_config(profile, consistency_start=0.0, lambda_msd=4.0, lambda_kld=4.0, **changes)
    return replace(config, train_stacks=min(STACKS, config.train_stacks))


@cache
def rendered(count: int, patch: int, device: str) -> RenderedStacks:
    """Stacks that all trainings here share, as their scenes take longest to make."""
    return RenderedStacks(count, SPLIT_SEEDS["train"], patch, device)


def run_of(config: Config, device: str, compiled: bool = False) -> _Run:
    """A training on rendered stacks."""
    run = _Run(config, rendered(config.train_stacks, config.patch, device), device)
    if compiled:
        run.model.compile()
    return run


def seconds(work: Callable[[], object], device: str, count: int) -> float:
    """Median seconds of one call, the first rounds left out."""
    found = []
    for _ in range(ROUNDS + 1):
        began = clock(device)
        for _ in range(count):
            work()
        found.append((clock(device) - began) / count)
    return statistics.median(found[1:])


def floor(run: _Run, device: str) -> float:
    """Seconds that a step takes at least: its multiplications, or moving what its convolutions put out.

    Gradients of inputs and of weights need as many multiplications each as the outputs (the counter is wrong about the
    gradients of depthwise layers). An output is written, and read forward and backward; its gradient is written and read.
    """
    outputs: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output: outputs.append(output.numel()))
        for layer in run.model.modules()
        if isinstance(layer, torch.nn.Conv2d)
    ]
    *inputs, _ = run.batch()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run.model(*inputs)
    for hook in hooks:
        hook.remove()
    dtype = torch.bfloat16 if run.config.precision == "bfloat16" else torch.float32
    rate, bandwidth = limits(device, dtype)
    return max(3 * counter.get_total_flops() / rate, 5 * sum(outputs) * dtype.itemsize / bandwidth)


def steps(profile: str, device: str, count: int) -> Callable[[], None]:
    """`count` steps, for several processes at once."""
    torch.set_num_threads(1)
    run = run_of(paper(profile), device)

    def work() -> None:
        for _ in range(count):
            run.step()
        clock(device)  # waits for the device

    return work


def iterations(profile: str, model: str, experiments: Sequence[str] = SUPPLEMENT) -> dict[str, int]:
    """Iterations of one seed of some experiments, by setting; a trunk counts once."""
    runs: dict[Config, set[str]] = {}
    for name in experiments:
        for config, methods in groups(read_experiment(name, profile), profile, seed=0):
            if config.model == model:
                runs.setdefault(config, set()).update(methods)
    total: dict[str, int] = {}
    for config, methods in runs.items():
        shared = config.trunk_iterations
        branches = (config.iterations - shared) * len(methods)
        total[config.setting] = total.get(config.setting, 0) + shared + branches
    return total


def measure(folder: Path, profile: str = "paper", device: str = "cuda", count: int = 20) -> Iterator[Measurement]:
    """Whole section."""
    config = paper(profile)
    run = run_of(config, device)
    step, data = seconds(run.step, device, count), seconds(run.batch, device, count)
    yield Measurement("D1: a training step, slices rendered on the device", 1e3 * step, "ms")
    yield Measurement("  of which slices", 100 * data / step, "%")
    yield Measurement("  the step over its floor", step / floor(run, device), "x")
    full = run_of(replace(config, precision="float32"), device)
    yield Measurement("  in float32", seconds(full.step, device, count) / step, "x the time")

    stacks = simulate_stacks(config.train_stacks, SPLIT_SEEDS["train"], config.patch, folder=folder / "gpu", device=device)
    losses = plain.train(config, stacks, workers=4, device=device)
    slow = seconds(lambda: next(losses), device, count)
    yield Measurement("  images per second over the plain loop's", slow / step, "x", 3, at_least=True)
    alone, both = (together(partial(steps, profile, device, count), processes, ROUNDS) for processes in (1, 2))
    yield Measurement("  two runs at once over one", 2 * alone / both, "x")

    everything = iterations(profile, config.model, plan.experiment_names())
    each = {
        setting: seconds(run_of(paper(profile, setting=setting, focal_indices=1), device).step, device, count) / 3600
        for setting in everything
    }  # F alone costs nothing
    hours, more = (
        sum(number * each[setting] for setting, number in counts.items())
        for counts in (iterations(profile, config.model), everything)
    )
    yield Measurement("AFPE: every training of the supplement, one after the other", hours, "hours", 6)
    yield Measurement("  with this project's own questions", more, "hours")
    wide = seconds(run_of(paper(profile, model="l2a"), device).step, device, count)
    hours = wide * sum(iterations(profile, "l2a").values()) / 3600
    yield Measurement("L2A: the same, each at the cost of D1", hours, "hours")
    fast = run_of(config, device, compiled=True)
    yield Measurement("AFPE, D1: a compiled step", seconds(fast.step, device, count) / step, "x the time")
