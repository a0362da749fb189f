"""Profiles, experiments/profiles.yml: how large a run is."""

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, model_validator

from companion.project import project_root
from companion.strict_yaml import MAPPING, Schema, parse_yaml
from fcl.config import Config, closest
from fcl.files import reading

Model, Data = Literal["afpe", "l2a"], Literal["simulated", "learnaf"]
MODELS, DATA = Model.__args__, Data.__args__
Count = Annotated[int, Field(gt=0)]


class Profile(Schema):
    """One profile: these keys, and fields of a Config. A value may depend on the model or the data."""

    model_config = ConfigDict(extra="allow")
    validation_stacks: Count | dict[Model | Data, Count]
    test_stacks: Count | dict[Model | Data, Count]
    rendered: bool = False

    @model_validator(mode="after")
    def _gives_a_config(self) -> Self:
        for model, data in itertools.product(MODELS, DATA):
            Config(**_of(self.model_extra, model, data))
        return self


PROFILES = TypeAdapter(Annotated[dict[str, Profile], Field(min_length=1)])


def read_data(name: str, schema: TypeAdapter = MAPPING) -> dict[str, Any]:
    """A file of experiments/, as data that fit the schema. ValueError naming file and line where they don't."""
    path = project_root() / "experiments" / name
    with reading(path, f"save it as text in UTF-8, or bring the committed one back: `git restore experiments/{name}`"):
        text = path.read_text(encoding="utf-8")
    return parse_yaml(text, f"experiments/{name}", schema)


def read_profile(profile: str, model: str = "afpe", data: str = "simulated") -> dict[str, Any]:
    """One profile of experiments/profiles.yml, as it is for a model and for data. ValueError for an unknown one."""
    profiles = read_data("profiles.yml", PROFILES)
    if profile not in profiles:
        raise ValueError(f"profile must be one of {', '.join(profiles)}, not {profile!r}.{closest(profile, profiles)}")
    return _of(profiles[profile], model, data)


def _of(entries: Mapping[str, Any], model: str, data: str) -> dict[str, Any]:
    return {
        key: value.get(str(model), value.get(str(data))) if isinstance(value, dict) else value
        for key, value in entries.items()
    }


def profile_config(profile: str, **overrides: Any) -> Config:
    """The Config of a profile, with some fields set otherwise. Errors as for `fcl.config.Config`."""
    entries = read_profile(profile, overrides.get("model", "afpe"), overrides.get("data", "simulated"))
    return Config(**{name: value for name, value in entries.items() if name not in Profile.model_fields} | overrides)


def renders_while_training(profile: str, data: str) -> bool:
    """Whether a profile's training slices are rendered as they are needed (fcl.rendered) instead of stored."""
    return data == "simulated" and read_profile(profile).get("rendered", False)
