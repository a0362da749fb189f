"""Experiments as data: what experiments/<name>.yml asks for, as groups of runs."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, TypeAdapter, model_validator

from companion.profiles import Data, Model, profile_config, read_data, read_profile
from companion.strict_yaml import Schema, one_or_more
from companion.weights import METHODS, NameOfSetting, NameOfWeights, Weights, parse_weights
from fcl.config import Config
from fcl.settings import N

AXES = ("model", "settings", "focal_indices", "length", "consistency_start", "pairing")
Seed = Annotated[int, Field(ge=0, lt=2**32)]
FocalIndices = Annotated[int, Field(ge=1, le=N)]
Positive = Annotated[float, Field(gt=0)]
Method = Annotated[str, AfterValidator(lambda name: name in METHODS or parse_weights(name))]


class Part(Schema):
    """What one part of an experiment, or a profile, may have of its own."""

    model: one_or_more(Model) = []
    settings: one_or_more(NameOfSetting) = []
    methods: list[Method] = []
    grid: dict[Literal["msd", "kld", "jsd"], list[Annotated[float, Field(ge=0, le=1000)]]] = {}
    base: dict[Literal[METHODS[1:]], NameOfWeights] = {}
    focal_indices: one_or_more(FocalIndices) = []
    length: one_or_more(Positive) = []
    consistency_start: one_or_more(Annotated[float, Field(ge=0, le=1)]) = []
    pairing: one_or_more(Literal["same", "shuffled"]) = []


class Variant(Part):
    """What a profile may have of its own."""

    seeds: list[Seed] = []
    parts: list[Part] = []


def _known_profile(name: str) -> str:
    read_profile(name)  # complains about another one
    return name


class Experiment(Variant):
    """A file that says what is run. `base`, `factors`, `tolerance`, `split`: how weights are chosen."""

    data: Data
    seeds: list[Seed]
    renders: list[str] = []
    profiles: dict[Annotated[str, AfterValidator(_known_profile)], Variant] = {}
    factors: list[Positive] = []
    tolerance: Positive = 1.0
    split: Literal["test", "validation"] = "test"

    @model_validator(mode="after")
    def _parts_are_whole(self) -> Self:
        for variant in (self, *self.profiles.values()):
            for part in variant.parts or self.parts or [Part()]:
                given = self.model_fields_set | variant.model_fields_set | part.model_fields_set
                if "settings" not in given or not given & {"methods", "grid", "base"}:
                    raise ValueError("each part needs settings, and methods or a grid")
                if "base" in given and not {"factors", "tolerance", "split"} <= given:
                    raise ValueError("a base needs factors, tolerance and split")
        return self


class KeptNetworks(Schema):
    """The trained networks that are published."""

    profile: str
    data: Data
    model: Model
    settings: list[NameOfSetting]
    methods: list[Method]
    focal_indices: FocalIndices
    seed: Seed


EXPERIMENT, KEPT_NETWORKS = TypeAdapter(Experiment), TypeAdapter(KeptNetworks)


def read_experiment(name: str, profile: str, data: str = "") -> dict[str, Any]:
    """experiments/<name>.yml with a profile's exceptions put in, on other `data` where these are named; and its `name`.

    Raises ValueError for an unknown profile, and naming file and line for what is no experiment.
    """
    read_profile(profile)
    plan = read_data(f"{name}.yml", EXPERIMENT)
    return plan | plan.get("profiles", {}).get(profile, {}) | ({"data": data} if data else {}) | {"name": name}


def parts(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An experiment, or each of its `parts`, in which some keys have other values."""
    common = {key: value for key, value in plan.items() if key != "parts"}
    return [common | part for part in plan.get("parts", [{}])]


def groups(plan: Mapping[str, Any], profile: str, seed: int) -> Iterator[tuple[Config, list[str]]]:
    """The groups of an experiment with one seed: what the runs of each share, and their methods.

    A group for every combination of AXES, each of which may be one value or a list; `length` multiplies the
    profile's iterations. `grid` adds methods: all combinations of its weights, such as
    {msd: [0, 4], kld: [0, 2]}. Raises ValueError for a combination that no Config allows.
    """
    for part in parts(plan):
        axes = {axis: part[axis] if isinstance(part[axis], list) else [part[axis]] for axis in AXES if axis in part}
        grid = part.get("grid", {})
        weights = [Weights(**dict(zip(grid, values))).name for values in itertools.product(*grid.values()) if grid]
        methods = list(dict.fromkeys([*part.get("methods", []), *weights]))
        for values in itertools.product(*axes.values()):
            options = dict(zip(axes, values)) | {"data": part["data"], "seed": seed}
            length = options.pop("length", 1)
            try:
                config = profile_config(profile, setting=options.pop("settings"), **options)
                config = replace(config, iterations=round(length * config.iterations))
            except ValueError as error:
                raise ValueError(f"experiments/{plan.get('name')}.yml, profile {profile}: {error}") from None
            yield config, methods
