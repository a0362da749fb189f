"""Training steps against a plain loop and their floor, what each change gave, L2A's sparse stem, long trainings."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain
from benchmarks.measure import Cost, Measurement, compare, cost, limits
from companion.profiles import profile_config, read_profile
from fcl.checkpoints import load_model
from fcl.config import Config
from fcl.metrics import mae
from fcl.models import build_model, convolve_observed
from fcl.prediction import predict
from fcl.simulator import SPLIT_SEEDS, simulate_stacks
from fcl.stacks import FocalStacks
from fcl.training import _Run, keep_freed_memory, train

STEPS = 8  # in one repetition
STACKS = 256
LONGER = 10  # times the laptop's iterations, on three times its stacks: else the long run would learn them by heart
CHANGES = {
    "contiguous": "contiguous tensors instead of channels last",
    "unfused": "Adam parameter by parameter instead of fused",
    "returned": "freed memory returned to the system after each step",
    "bfloat16": "bfloat16 instead of float32",
    "larger": "mini-batches twice as large",
    "threads": "two threads instead of one (wall-clock)",
    "compiled": "compiled network instead of eager (a minute to compile)",
}


def laptop(folder: Path, setting: str, change: str = "") -> tuple[Config, FocalStacks]:
    """The laptop's training of FCL on fewer stacks, from its first step with the consistency loss."""
    changes = {"bfloat16": {"precision": "bfloat16"}, "larger": {"batch": 256}}.get(change, {})
    config = profile_config(
        "laptop", setting=setting, train_stacks=STACKS, consistency_start=0.0, lambda_msd=4.0, lambda_kld=4.0, **changes
    )
    return config, FocalStacks.load(folder)


def steps(folder: Path, setting: str, change: str = "") -> Callable[[], None]:
    """STEPS training steps, as the project makes them but for one of CHANGES."""
    torch.set_num_threads(2 if change == "threads" else 1)
    config, stacks = laptop(folder, setting, change)
    if change != "returned":
        keep_freed_memory()
    run = _Run(config, stacks, "cpu")
    if change == "contiguous":
        run.model.to(memory_format=torch.contiguous_format)
    if change == "compiled":
        run.model.compile()
    if change == "unfused":
        options = {name: value for name, value in run.optimizer.defaults.items() if name != "fused"}
        run.optimizer = torch.optim.Adam(run.model.parameters(), **options)
    count = STEPS * 128 // config.batch
    return lambda: [run.step() for _ in range(count)]


def batches(folder: Path, setting: str) -> Callable[[], None]:
    """The data of STEPS steps alone."""
    torch.set_num_threads(1)
    keep_freed_memory()
    run = _Run(*laptop(folder, setting), "cpu")
    return lambda: [run.batch() for _ in range(STEPS)]


def plain_steps(folder: Path, setting: str) -> Callable[[], None]:
    """STEPS steps of the plain loop with two workers."""
    torch.set_num_threads(1)  # more would only add waiting: the workers have the other cores
    losses = plain.train(*laptop(folder, setting), workers=2)
    return lambda: [next(losses) for _ in range(STEPS)]


def floor(folder: Path, setting: str) -> float:
    """Seconds that one core needs at least for a step's multiplications; they outweigh its bytes."""
    run = _Run(*laptop(folder, setting), "cpu")
    *inputs, labels = run.batch()
    with FlopCounterMode(display=False) as counter:
        sum(run.losses(run.model(*inputs), labels)).backward()
    return counter.get_total_flops() / limits()[0]


def measure(folder: Path, changes: bool) -> Iterator[Measurement]:
    """One and five frames against the plain loop; with `changes`, what each of CHANGES costs in D1."""
    simulate_stacks(STACKS, 0, read_profile("laptop")["patch"], processes=2, folder=folder / "steps")
    for setting in ("D1", "D5"):
        candidates = {"this": steps, "data": batches, "plain": plain_steps}
        costs = compare({name: partial(make, folder / "steps", setting) for name, make in candidates.items()})
        seconds = costs["this"].core
        yield Measurement(f"{setting}: a training step", 1e3 * seconds / STEPS, "core-ms")
        yield Measurement("  the same over its floor", seconds / STEPS / floor(folder / "steps", setting), "x")
        yield Measurement("  samples per core-second over the plain loop's", costs["plain"].core / seconds, "x", 2, True)
        wall = costs["plain"].wall / costs["this"].wall
        yield Measurement("  samples per second over the plain loop's (wall-clock)", wall, "x")
        yield Measurement("  data", 100 * costs["data"].core / seconds, "% of a step", 10)
    if changes:
        costs = compare({change: partial(steps, folder / "steps", "D1", change) for change in ["", *CHANGES]})
        for change, words in CHANGES.items():
            name = "wall" if change == "threads" else "core"
            yield Measurement(f"D1 with {words}", getattr(costs[change], name) / getattr(costs[""], name), "x the time")


def stem(backbone: str, sparse: bool) -> Callable[[], None]:
    """L2A's first layer with its gradients for a mini-batch of one frame, 64 x 64."""
    torch.set_num_threads(1)
    keep_freed_memory()
    model = build_model("l2a", "D1", backbone).to(memory_format=torch.channels_last)
    numbers = torch.Generator().manual_seed(0)
    slices, start = torch.rand(128, 1, 2, 64, 64, generator=numbers), torch.randint(0, 49, (128,), generator=numbers)

    position = torch.zeros(128, 2)

    def work() -> None:
        for _ in range(STEPS):
            if sparse:
                frames = model.normalise(slices, start, position).flatten(1, 2)
                features = convolve_observed(frames, 2 * start, model.backbone.stem)
            else:
                features = model.backbone.stem(model.encode(slices, start, position))
            features.square().mean().backward()

    return work


def measure_stem() -> Iterator[Measurement]:
    """L2A's sparse stem against the dense one."""
    for backbone, mark in (("compact", 5), ("mobilenet_v2", None)):
        costs = compare({kind: partial(stem, backbone, kind == "sparse") for kind in ("sparse", "dense")})
        what = f"L2A's dense stem over the sparse one ({backbone})"
        yield Measurement(what, costs["dense"].core / costs["sparse"].core, "x", mark, at_least=True)


def _train(config: Config, stacks: FocalStacks, checkpoint: Path) -> tuple[Cost, float]:
    """Cost of a training, and its MAE on the laptop's validation stacks."""

    def work() -> None:
        for _ in train(config, stacks, checkpoint=checkpoint):
            pass

    spent = cost(work)
    validation = simulate_stacks(read_profile("laptop")["validation_stacks"], SPLIT_SEEDS["validation"], config.patch)
    predictions = predict(load_model(checkpoint), validation, config.setting)
    return spent, mae(predictions.argmax, validation.labels)


def measure_long(folder: Path, longer: bool) -> Iterator[Measurement]:
    """One full-length laptop training (D1 baseline), and how far it stays behind one ten times longer."""
    torch.set_num_threads(1)
    config = profile_config("laptop")

    def stacks(count: int) -> FocalStacks:
        return simulate_stacks(count, SPLIT_SEEDS["train"], config.patch, processes=2, folder=folder / f"train{count}")

    spent, error = _train(config, stacks(config.train_stacks), folder / "short.safetensors")
    yield Measurement("one full-length training, D1 baseline", spent.core, "core-seconds", 60)
    yield Measurement("  its MAE on validation stacks", error, "indices")
    if longer:
        config = replace(config, iterations=LONGER * config.iterations, train_stacks=3 * config.train_stacks)
        _, best = _train(config, stacks(config.train_stacks), folder / "long.safetensors")
        yield Measurement("  MAE of the same network, trained ten times longer", best, "indices", 3)
        yield Measurement("  the short training's MAE over that", error / best, "x", 1.5)
