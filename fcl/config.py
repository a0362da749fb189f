"""Config: everything that determines a run, checked as it is made. fcl.training has it too."""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from fcl.settings import N, parse_setting


def closest(name: object, known: Iterable[str]) -> str:
    """A question for a misspelt name, "Did you mean 'kld'?", or nothing."""
    match = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {match[0]!r}?" if match else ""


def _setting(default: Any, kinds: tuple[type, ...], allowed: str, holds: Callable[[Any], Any]) -> Any:
    return field(default=default, metadata={"kinds": kinds, "allowed": allowed, "holds": holds})


def _one_of(*names: str) -> Any:
    return _setting(names[0], (str,), " or ".join(map(repr, names)), names.__contains__)


def _whole(default: int, low: int, high: int) -> Any:
    allowed = f"a whole number from {low} to {high}"
    return _setting(default, (int,), allowed, lambda value: low <= value <= high)


def _real(default: float, low: float, high: float) -> Any:
    allowed = f"a number from {low:g} to {high:g}"
    return _setting(default, (int, float), allowed, lambda value: low <= value <= high)  # false for NaN


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that determines a run; the defaults are the laptop's.

    Raises ValueError for an unknown name and for a value or type that is not allowed: True is no 1 and "4" no 4.
    """

    model: str = _one_of("afpe", "l2a")
    setting: str = _setting("D1", (str,), "one of D1..D5, I1..I5, D*, I*", parse_setting)
    backbone: str = _one_of("compact", "mobilenet_v2")
    width: float = _real(1.0, 0.05, 8)  # multiplies the backbone's channels
    data: str = _one_of("simulated", "learnaf")
    patch: int = _whole(64, 16, 1024)  # px
    train_stacks: int = _whole(3072, 1, 10_000_000)
    focal_indices: int = _whole(4, 1, N)  # F: slices of one scene in a mini-batch
    batch: int = _whole(128, 1, 65536)  # B = S * F
    iterations: int = _whole(600, 1, 100_000_000)
    consistency_start: float = _real(0.5, 0, 1)  # fraction of iterations before the consistency loss
    lambda_msd: float = _real(0.0, 0, 1000)
    lambda_kld: float = _real(0.0, 0, 1000)
    lambda_jsd: float = _real(0.0, 0, 1000)
    pairing: str = _one_of("same", "shuffled")  # shuffled: a control, pairs of different scenes
    schedule: str = _one_of("onecycle", "cosine")
    learning_rate: float = _real(2e-3, 1e-8, 1)  # the highest of the schedule
    beta1: float = _real(0.5, 0, 0.99999)
    beta2: float = _real(0.999, 0, 0.99999)
    weight_decay: float = _real(1e-4, 0, 1)  # L2, added to the gradient
    temperature: float = _real(1.0, 1e-3, 1000)  # of the ordinal target, squared index steps
    flip: bool = _setting(True, (bool,), "True or False", lambda value: True)  # mirror scenes at random
    precision: str = _one_of("float32", "bfloat16")
    seed: int = _whole(0, 0, 2**32 - 1)

    def __new__(cls, *args: Any, **options: Any) -> "Config":
        known = [entry.name for entry in fields(cls)]
        for name in options:
            if name not in known:
                raise ValueError(f"Config has no field {name!r}.{closest(name, known)} It has {', '.join(known)}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for entry in fields(self):
            self._check(entry.name, getattr(self, entry.name), **entry.metadata)
        starts = parse_setting(self.setting).starts
        if self.focal_indices > starts:
            raise ValueError(
                f"focal_indices must be at most {starts}, the number of starts in setting "
                f"{self.setting}, not {self.focal_indices}"
            )
        if self.batch % self.focal_indices:
            raise ValueError(f"batch must be a multiple of focal_indices = {self.focal_indices}, not {self.batch}")
        if self.scenes > self.train_stacks:
            raise ValueError(
                f"train_stacks must be at least {self.scenes}, the scenes of one mini-batch, not {self.train_stacks}"
            )
        if self.pairing == "shuffled" and self.focal_indices > self.scenes:
            raise ValueError(
                f"pairing 'shuffled' needs focal_indices = {self.focal_indices} scenes a batch, "
                f"which has {self.scenes}: raise batch to {self.focal_indices**2}"
            )

    def _check(self, name: str, value: Any, kinds: tuple, allowed: str, holds: Callable[[Any], Any]) -> None:
        try:
            fits = type(value) in kinds and bool(holds(value))
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"{name} must be {allowed}, not {value!r}")
        if float in kinds:
            object.__setattr__(self, name, float(value))

    @property
    def scenes(self) -> int:
        """S, the scenes of a mini-batch."""
        return self.batch // self.focal_indices

    @property
    def trunk_iterations(self) -> int:
        """Iterations before the consistency loss joins."""
        return round(self.consistency_start * self.iterations)

    @property
    def lambdas(self) -> dict[str, float]:
        """The three weights, as arguments of `fcl.losses.focal_consistency_loss`."""
        return {name: getattr(self, name) for name in ("lambda_msd", "lambda_kld", "lambda_jsd")}

    def trunk(self) -> "Config":
        """What all branches share: the same run without a consistency loss."""
        return replace(self, **dict.fromkeys(self.lambdas, 0.0), pairing="same")
