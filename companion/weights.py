"""The weights of a consistency loss: their names, and those that were chosen, experiments/weights.yml."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, TypeAdapter

from companion.profiles import Model, read_data
from companion.strict_yaml import Schema
from fcl.config import Config, closest
from fcl.settings import parse_setting

METHODS = ("baseline", "msd", "jsd", "kld", "fcl")  # in the order of Table A
Readout = Literal["argmax", "median", "expected"]  # one index from a distribution: the most likely, the median, the mean
READOUTS = Readout.__args__


@dataclass(frozen=True)
class Weights:
    """Weights of the consistency terms in Eq. (9), each from 0 to 1000. All 0 is the baseline."""

    msd: float = 0.0
    kld: float = 0.0
    jsd: float = 0.0

    def __post_init__(self) -> None:
        for term, value in asdict(self).items():
            if type(value) not in (int, float) or not 0 <= value <= 1000:
                raise ValueError(f"the weight of {term} must be a number from 0 to 1000, not {value!r}")

    @classmethod
    def of(cls, config: Config) -> "Weights":
        """The weights of a config."""
        return cls(config.lambda_msd, config.lambda_kld, config.lambda_jsd)

    @property
    def lambdas(self) -> dict[str, float]:
        """As fields of a Config: `dataclasses.replace(config, **weights.lambdas)`."""
        return {f"lambda_{term}": float(value) for term, value in asdict(self).items()}

    @property
    def name(self) -> str:
        """Canonical name, such as 'baseline', 'msd6' or 'msd4+kld0.857'; no two weights share one."""
        terms = {term: (value, f"{value:g}") for term, value in asdict(self).items() if value > 0}
        names = [f"{term}{short if float(short) == value else float(value)}" for term, (value, short) in terms.items()]
        return "+".join(names) or "baseline"


def parse_weights(text: str) -> Weights:
    """Weights from a name such as 'baseline', 'kld4' or 'msd4+kld0.857'. Raises ValueError for any other.

    >>> parse_weights("kld4+msd6").name
    'msd6+kld4'
    """
    values: dict[str, float] = {}
    for term in () if text == "baseline" else text.split("+"):
        match = re.fullmatch(r"(msd|kld|jsd)(\d+(?:\.\d+)?(?:e-\d+)?)", term, re.ASCII)
        if not match or match[1] in values or float(match[2]) == 0:
            raise ValueError(
                f"weights {text!r}: {term!r} is not msd, kld or jsd, once, and a number above "
                "0. Write 'baseline', 'msd6', 'jsd32', 'msd4+kld4'; leave a weight of 0 out"
            )
        values[match[1]] = float(match[2])
    return Weights(**values)


NameOfWeights = Annotated[str, AfterValidator(parse_weights)]
NameOfSetting = Annotated[str, AfterValidator(parse_setting)]


class Choices(Schema):
    """What was chosen for one setting."""

    msd: NameOfWeights = ""
    jsd: NameOfWeights = ""
    kld: NameOfWeights = ""
    fcl: NameOfWeights = ""
    readout: Readout = "argmax"


CHOSEN = TypeAdapter(dict[str, dict[Model, dict[NameOfSetting, Choices]]])


def weights_key(profile: str, data: str) -> str:
    """Which entry of experiments/weights.yml: `laptop` for simulated stacks, `laptop-learnaf` for photographs."""
    return profile if data == "simulated" else f"{profile}-{data}"


def chosen_weights(
    profile: str, model: str, setting: str, methods: Iterable[str] = METHODS, data: str = "simulated"
) -> dict[str, Weights]:
    """Weights of some methods, by default of all, as chosen on validation stacks: experiments/weights.yml.

    Raises ValueError where the file doesn't name them.
    """
    wanted = sorted({*methods}, key=METHODS.index)
    chosen = _chosen(profile, model, setting, data, [name for name in wanted if name != "baseline"])
    return {method: parse_weights(chosen.get(method, "baseline")) for method in wanted}


def chosen_readout(profile: str, model: str, setting: str, data: str = "simulated") -> str:
    """How the baseline of a setting with one frame is best read out, as chosen on validation stacks with the weights.

    One of `READOUTS`. Raises ValueError where the file doesn't name it.
    """
    return _chosen(profile, model, setting, data, ["readout"])["readout"]


def _chosen(profile: str, model: str, setting: str, data: str, names: list[str]) -> dict[str, str]:
    """The choices for a setting, among them those that are named. ValueError where one is missing."""
    key = weights_key(profile, data)
    chosen = read_data("weights.yml", CHOSEN).get(key, {}).get(model, {}).get(setting, {})
    missing = [name for name in names if name not in chosen]
    if missing:
        command = f"make weights PROFILE={profile}" + ("" if data == "simulated" else f" DATA={data}")
        raise ValueError(
            f"experiments/weights.yml has no {', '.join(missing)} for {key}, {model}, {setting}. Choose weights first: "
            f"`{command}`; or name some, such as msd4+kld4"
        )
    return chosen


def resolve_methods(
    methods: str, profile: str, model: str, setting: str, data: str = "simulated"
) -> list[tuple[str, Weights]]:
    """(label, weights) of each run in a comma-separated string of methods or weights: 'baseline, fcl, jsd32'.

    Two labels may stand for the same weights (fcl and msd4+kld4): one run, under the first label. Raises ValueError for an
    unknown or missing name, and for one that is there twice.
    """
    labels = [label.strip() for label in methods.split(",")]
    resolved: dict[Weights, str] = {}
    for label in labels:
        if not label:
            raise ValueError(f"methods {methods!r}: a name is missing")
        if labels.count(label) > 1:
            raise ValueError(f"methods {methods!r}: {label!r} is there twice")
        if label in METHODS:
            weights = chosen_weights(profile, model, setting, [label], data)[label]
        else:
            try:
                weights = parse_weights(label)
            except ValueError as error:
                raise ValueError(
                    f"methods {methods!r}: {label!r} is none of {', '.join(METHODS)}."
                    f"{closest(label, METHODS)} Nor is it weights: {error}"
                ) from None
        resolved.setdefault(weights, label)
    return [(label, weights) for weights, label in resolved.items()]
