"""Profiles, experiments/profiles.yml: how large a run is."""

import functools
from typing import Any

import yaml

from companion.project import project_root
from fcl.config import Config, closest

NOT_OF_CONFIG = {"validation_stacks", "test_stacks", "rendered"}


def read_data(name: str) -> dict[str, Any]:
    """A file of experiments/, as data."""
    return parse_yaml((project_root() / "experiments" / name).read_text(encoding="utf-8"))


@functools.lru_cache
def parse_yaml(text: str) -> dict[str, Any]:
    """What a text in YAML says, which may be nothing. Kept: parsing is slow, and every Config of a plan asks again."""
    return yaml.safe_load(text) or {}


def read_profile(profile: str, model: str = "afpe", data: str = "simulated") -> dict[str, Any]:
    """One profile of experiments/profiles.yml, as it is for a model and for data. ValueError for an unknown one."""
    profiles = read_data("profiles.yml")
    if profile not in profiles:
        raise ValueError(f"profile must be one of {', '.join(profiles)}, not {profile!r}.{closest(profile, profiles)}")
    return {
        key: value.get(str(model), value.get(str(data))) if isinstance(value, dict) else value
        for key, value in profiles[profile].items()
    }


def profile_config(profile: str, **overrides: Any) -> Config:
    """The Config of a profile, with some fields set otherwise. Errors as for `fcl.config.Config`."""
    entries = read_profile(profile, overrides.get("model", "afpe"), overrides.get("data", "simulated"))
    return Config(**{name: value for name, value in entries.items() if name not in NOT_OF_CONFIG} | overrides)


def renders_while_training(profile: str, data: str) -> bool:
    """Whether a profile's training slices are rendered as they are needed (fcl.rendered) instead of stored."""
    return data == "simulated" and bool(read_profile(profile).get("rendered"))
