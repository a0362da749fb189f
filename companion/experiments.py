"""Experiments as data: what experiments/<name>.yml asks for, as groups of runs."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from companion.profiles import parse_yaml, profile_config
from companion.project import project_root
from companion.weights import Weights
from fcl.config import Config

AXES = ("model", "settings", "focal_indices", "length", "consistency_start", "pairing")


def read_experiment(name: str, profile: str, data: str = "") -> dict[str, Any]:
    """experiments/<name>.yml with a profile's exceptions put in, on other `data` where these are named; and its `name`."""
    plan = parse_yaml((project_root() / "experiments" / f"{name}.yml").read_text(encoding="utf-8"))
    return plan | plan.get("profiles", {}).get(profile, {}) | ({"data": data} if data else {}) | {"name": name}


def parts(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An experiment, or each of its `parts`, in which some keys have other values."""
    common = {key: value for key, value in plan.items() if key != "parts"}
    return [common | part for part in plan.get("parts", [{}])]


def groups(plan: Mapping[str, Any], profile: str, seed: int) -> Iterator[tuple[Config, list[str]]]:
    """The groups of an experiment with one seed: what the runs of each share, and their methods.

    A group for every combination of AXES, each of which may be one value or a list; `length` multiplies the
    profile's iterations. `grid` adds methods: all combinations of its weights, such as
    {msd: [0, 4], kld: [0, 2]}.
    """
    for part in parts(plan):
        axes = {axis: part[axis] if isinstance(part[axis], list) else [part[axis]] for axis in AXES if axis in part}
        grid = part.get("grid", {})
        weights = [Weights(**dict(zip(grid, values))).name for values in itertools.product(*grid.values()) if grid]
        methods = list(dict.fromkeys([*part.get("methods", []), *weights]))
        for values in itertools.product(*axes.values()):
            options = dict(zip(axes, values)) | {"data": part["data"], "seed": seed}
            length = options.pop("length", 1)
            config = profile_config(profile, setting=options.pop("settings"), **options)
            yield replace(config, iterations=round(length * config.iterations)), methods
