"""Training: the loop as a generator, trunk and branches, resuming, predictions.

Shapes: B = S * F samples of a mini-batch, S scenes, F slices of one scene (scene-major), m frames, N = 49 focal indices.

Until the consistency loss joins, every method of one (model, setting, F, seed) is the same run. That part, the trunk, is
trained once, and each method goes on from its state as a branch: on one processor, bit-identical to the run in one piece.
"""

import ctypes
import functools
import json
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from fcl.checkpoints import AGAIN, Step, new_model, pack_curve, read_checkpoint, read_tensors, write_tensors
from fcl.config import Config
from fcl.cuda_graph import Replay
from fcl.files import reading
from fcl.losses import focal_consistency_loss, ordinal_loss
from fcl.prediction import predict
from fcl.randomness import generator, torch_generator
from fcl.sampler import BatchSampler
from fcl.settings import N, parse_setting
from fcl.stacks import FocalStacks

__all__ = ["Config", "TrainingDiverged", "learning_rate", "predict", "shuffle_pairs", "train"]

UNKNOWN_CODE = {"commit": None, "clean": None}
WARM_UP = 0.3  # fraction of a one-cycle schedule that rises
EXPLODED = 10 * math.log(N)  # nats: ten times the ordinal loss of a network that knows nothing


class TrainingDiverged(RuntimeError):
    """Loss or weights are not finite, or the ordinal loss is far above that of an ignorant network."""


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc reuse big freed blocks instead of returning them to the system after each step.

    Faulting the pages of a mini-batch in again costs a five-frame step half its time. Elsewhere: no effect.
    """
    if platform.libc_ver()[0] == "glibc":
        m_trim_threshold, m_mmap_max = -1, -4
        libc = ctypes.CDLL(None)
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)


def learning_rate(iteration: int, config: Config) -> float:
    """Learning rate r_i of the update that follows i = `iteration` others: a function, so no state to restore.

    cosine: r_i = r/2 (1 + cos(pi i/I)), the paper's. onecycle: two cosine arcs, from r/25 up to r over the first 30 %, then
    down to r/250000, as torch's OneCycleLR; the momentum isn't cycled: the paper's betas are constants.
    """
    highest, total = config.learning_rate, config.iterations

    def arc(start: float, end: float, fraction: float) -> float:
        return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))

    if config.schedule == "cosine":
        return arc(highest, 0.0, iteration / total)
    summit = WARM_UP * total - 1
    if iteration <= summit:
        return arc(highest / 25, highest, iteration / summit)
    return arc(highest, highest / 250_000, (iteration - summit) / (total - 1 - summit))


def shuffle_pairs(logits: Tensor) -> Tensor:
    """Regroup logits (S, F, N) so that each group has F different scenes: column f is rolled by f."""
    return torch.stack([column.roll(f, dims=0) for f, column in enumerate(logits.unbind(1))], dim=1)


class _Run:
    """All state of a training: what a step changes and a checkpoint holds."""

    def __init__(self, config: Config, stacks: FocalStacks, device: str, code: Mapping[str, Any] | None = None) -> None:
        asked = config.train_stacks, config.patch, config.patch
        given = len(stacks), *stacks.slices.shape[3:]
        if given != asked:
            raise ValueError(f"(train_stacks, patch, patch) is {asked} in the config, {given} in the stacks")
        self.config, self.stacks, self.setting = config, stacks, parse_setting(config.setting)
        self.device = torch.device(device)
        self.model = new_model(config, device).train()
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), betas=(config.beta1, config.beta2), weight_decay=config.weight_decay, fused=True
        )
        self.sampler = BatchSampler(
            len(stacks), config.scenes, config.focal_indices, self.setting.starts, generator(config.seed, "batches")
        )
        kinds = {"cpu", self.device.type}
        self.dropout = {kind: torch_generator(config.seed, "dropout", device=kind).get_state() for kind in kinds}
        self.recorded: dict[bool, Replay] = {}  # on a GPU, `gradients` without and with the consistency loss
        self.curve: list[Step] = []
        self.seconds = 0.0
        self.code = dict(code or UNKNOWN_CODE)  # of the trunk's first iteration, wherever the run goes on

    @contextmanager
    def own_dropout(self) -> Iterator[None]:
        """Dropout draws from torch's global generators: lend them this run's states, then restore theirs."""
        cuda = "cuda" in self.dropout
        with torch.random.fork_rng(devices=[self.device] if cuda else []):
            torch.set_rng_state(self.dropout["cpu"])
            if cuda:
                torch.cuda.set_rng_state(self.dropout["cuda"], self.device)
            yield
            self.dropout["cpu"] = torch.get_rng_state()
            if cuda:
                self.dropout["cuda"] = torch.cuda.get_rng_state(self.device)

    def batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """slices (B, m, 2, H, W), starts (B,), positions (B, 2), labels (B,) of the next mini-batch.

        A flipped scene is mirrored across the baseline, rows and y alike: a symmetry of the optics.
        """
        batch = next(self.sampler)
        scenes, starts = batch.scenes.repeat(self.config.focal_indices), batch.starts.reshape(-1)  # both (B,)
        slices = self.stacks.observe(scenes, starts, self.setting.frames)
        positions = torch.from_numpy(self.stacks.positions[scenes])
        if self.config.flip:
            flips = torch.from_numpy(batch.flips.repeat(self.config.focal_indices).nonzero()[0])  # (S,) -> (B,)
            positions[flips, 1] *= -1
            flips = flips.to(slices.device)  # numbers of samples, as a mask would make a GPU wait
            slices[flips] = slices[flips].flip(-2)
        inputs = slices, torch.from_numpy(starts), positions, torch.from_numpy(self.stacks.labels[scenes])
        return tuple(values.to(self.device) for values in inputs)

    @property
    def joined(self) -> bool:
        """Whether the consistency loss counts in the next step."""
        return len(self.curve) >= self.config.trunk_iterations and any(self.config.lambdas.values())

    def losses(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. (9) in two scalars: the ordinal loss, and the consistency loss, 0 until it has joined."""
        config = self.config
        ordinal = ordinal_loss(logits, labels, config.temperature).mean()
        if not self.joined:
            return ordinal, torch.zeros_like(ordinal)
        grouped = logits.view(config.scenes, config.focal_indices, N)  # (B, N) -> (S, F, N)
        if config.pairing == "shuffled":
            grouped = shuffle_pairs(grouped)
        return ordinal, focal_consistency_loss(grouped, **config.lambdas).mean()

    def gradients(self, slices: Tensor, starts: Tensor, positions: Tensor, labels: Tensor) -> Tensor:
        """The two losses (2,) of a mini-batch, forward and backward: the gradients are left with the parameters."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            logits = self.model(slices, starts, positions)
        ordinal, consistency = self.losses(logits.float(), labels)
        self.optimizer.zero_grad()
        (ordinal + consistency).backward()
        return torch.stack([ordinal.detach(), consistency.detach()])

    def replay(self, inputs: Sequence[Tensor]) -> Replay:
        """`gradients` as a GPU replays it, recorded at the first mini-batch and when the consistency loss joins."""
        if self.joined not in self.recorded:
            self.recorded.clear()  # its memory serves the next one
            kept = [values.clone() for values in self.model.buffers()]
            with torch.random.fork_rng(devices=[self.device]):
                self.recorded[self.joined] = Replay(self.gradients, *inputs)
            for values, before in zip(self.model.buffers(), kept, strict=True):  # statistics of batch normalisation
                values.copy_(before)
        return self.recorded[self.joined]

    def step(self) -> Step:
        """One iteration: mini-batch, losses, gradients, update."""
        began, rate = perf_counter(), learning_rate(len(self.curve), self.config)
        inputs = self.batch()
        work = self.replay(inputs) if self.device.type == "cuda" else self.gradients
        with self.own_dropout():
            parts = work(*inputs).tolist()  # one transfer from the device
        step = Step(len(self.curve) + 1, sum(parts), *parts, rate)
        if not (math.isfinite(step.loss) and step.ordinal <= EXPLODED):
            raise TrainingDiverged(
                f"the loss of iteration {step.iteration} is {step.loss:.4g}, its ordinal part {step.ordinal:.4g}"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.curve.append(step)
        self.seconds += perf_counter() - began
        return step

    def save(self, path: Path) -> None:
        """Write all that `load` needs, or raise TrainingDiverged for weights that are not finite."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        if not all(value.isfinite().all() for value in tensors.values()):
            raise TrainingDiverged(f"after iteration {len(self.curve)} not all weights are finite")
        for number, parameter in enumerate(self.model.parameters()):
            moments = self.optimizer.state[parameter].items()
            tensors |= {f"adam.{number}.{name}": value for name, value in moments}
        tensors |= {f"dropout.{kind}": state for kind, state in self.dropout.items()}
        tensors["curve"] = pack_curve(self.curve)
        write_tensors(
            path,
            tensors,
            self.config,
            sampler=json.dumps(self.sampler.state_dict()),
            seconds=repr(self.seconds),
            code=json.dumps(self.code),
        )

    def load(self, path: Path, asked: Config) -> None:
        """Go on from a checkpoint of the config `asked`; ValueError naming the fields that differ, or a damaged file."""
        tensors, texts = read_tensors(path)
        with reading(path, AGAIN):
            stored = json.loads(texts["config"])
            differing = [
                f"{name} = {stored.get(name)!r} instead of {value!r}"
                for name, value in asdict(asked).items()
                if stored.get(name) != value
            ]
        if differing:
            raise ValueError(f"{path} belongs to another run, with {', '.join(differing)}: move it away")
        begun = {name.removeprefix("dropout.") for name in tensors if name.startswith("dropout.")}
        if "curve" not in tensors or begun != set(self.dropout):
            raise ValueError(f"{path} can't be continued: it is a kept network or began on another device")
        began, parameters = read_checkpoint(path), list(self.model.parameters())
        with reading(path, AGAIN):
            for name, value in tensors.items():
                kind, *place = name.split(".")
                if kind == "adam":
                    number, moment = place
                    parameter = parameters[int(number)]
                    if value.dim():
                        if value.shape != parameter.shape:
                            raise ValueError(f"{name} has the shape {tuple(value.shape)}, not {tuple(parameter.shape)}")
                        value = torch.empty_like(parameter).copy_(value)  # in its memory order, which the fused update needs
                    self.optimizer.state[parameter][moment] = value.to(self.device)
            self.model.load_state_dict(
                {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
            )
            self.sampler.load_state_dict(json.loads(texts["sampler"]))
        self.dropout = {kind: tensors[f"dropout.{kind}"] for kind in self.dropout}
        self.curve, self.seconds = began.curve, began.seconds
        self.code = {"commit": began.code["commit"], "clean": began.code["clean"] and self.code["clean"]}


def train(
    config: Config,
    stacks: FocalStacks,
    *,
    checkpoint: Path | None = None,
    trunk: Path | None = None,
    until: int | None = None,
    device: str = "cpu",
    checkpoint_every: int | None = None,
    code: Mapping[str, Any] | None = None,
) -> Iterator[Step]:
    """Train, yielding a Step after every iteration: printing, plotting and stopping belong to the caller.

    The loss is Eq. (9), ordinal.mean() over B + consistency.mean() over S, the latter from config.trunk_iterations on; the
    optimiser is Adam. Goes on from `checkpoint` where that file exists, else from `trunk`, a finished trunk, else begins.
    Writes `checkpoint` before the first iteration, every `checkpoint_every` (default: a twentieth of the run) and after the
    last, so that a killed run goes on bit-identically (same processor, threads, torch). `until` stops after that many
    iterations: a trunk is `train(config.trunk(), stacks, checkpoint=path, until=config.trunk_iterations)`. `code` says which
    code trains, {"commit", "clean"}: the checkpoint keeps the commit of the trunk's first start, clean if it was at every
    start.

    Raises ValueError where the stacks or a checkpoint don't fit the config; TrainingDiverged, leaving the last good
    checkpoint, for a loss that is not finite or an ordinal part above 10 ln 49. The consistency part has no such limit:
    across different scenes it is rightly large.
    """
    end = config.iterations if until is None else until
    every = checkpoint_every or max(1, config.iterations // 20)
    if not 0 <= end <= config.iterations:
        raise ValueError(f"until must be from 0 to the config's {config.iterations} iterations, not {until}")
    keep_freed_memory()
    run = _Run(config, stacks, device, code)
    if checkpoint is not None and checkpoint.exists():
        run.load(checkpoint, config)
    elif trunk is not None:
        run.load(trunk, config.trunk())
        if len(run.curve) != config.trunk_iterations:
            raise ValueError(
                f"{trunk} holds {len(run.curve)} iterations where the trunk of this config has "
                f"{config.trunk_iterations}: finish it first"
            )
    try:
        if checkpoint is not None and not checkpoint.exists():
            run.save(checkpoint)
        while len(run.curve) < end:
            step = run.step()
            if checkpoint is not None and (step.iteration % every == 0 or step.iteration == end):
                run.save(checkpoint)
            yield step
    except TrainingDiverged as error:
        kept = f"{checkpoint} holds the last good state" if checkpoint else "no checkpoint was asked for"
        raise TrainingDiverged(
            f"training diverged: {error}; {kept}. Try a learning_rate below "
            f"{config.learning_rate:g}, smaller lambdas or precision float32"
        ) from None
