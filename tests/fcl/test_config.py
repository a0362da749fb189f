"""Config: what it refuses, and that it is canonical."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest

from companion.profiles import profile_config
from fcl.config import Config

TINY = Config(focal_indices=4, batch=16, lambda_msd=4.0, lambda_kld=2.0, seed=3)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("model", "AFPE", "'afpe' or 'l2a'"),
        ("model", 3, "'afpe' or 'l2a'"),
        ("model", None, "'afpe' or 'l2a'"),
        ("setting", "D6", "D1..D5"),
        ("setting", "d1", "D1..D5"),
        ("setting", 1, "D1..D5"),
        ("backbone", "resnet", "'compact' or 'mobilenet_v2'"),
        ("data", "real", "'simulated' or 'learnaf'"),
        ("width", 0, "from 0.05 to 8"),
        ("width", "1", "from 0.05 to 8"),
        ("width", True, "from 0.05 to 8"),
        ("patch", 64.0, "whole number"),
        ("patch", 8, "from 16"),
        ("train_stacks", 0, "from 1"),
        ("focal_indices", "4", "whole number"),
        ("focal_indices", True, "whole number"),
        ("focal_indices", 0, "1 to 49"),
        ("focal_indices", 50, "1 to 49"),
        ("batch", 126, "multiple of focal_indices = 4"),
        ("batch", -128, "from 1"),
        ("iterations", 0, "from 1"),
        ("iterations", 600.0, "whole number"),
        ("iterations", np.int64(600), "whole number"),
        ("consistency_start", 1.5, "from 0 to 1"),
        ("consistency_start", -0.1, "from 0 to 1"),
        ("lambda_msd", -4.0, "from 0 to 1000"),
        ("lambda_kld", math.nan, "from 0 to 1000"),
        ("lambda_jsd", math.inf, "from 0 to 1000"),
        ("lambda_jsd", "4", "from 0 to 1000"),
        ("pairing", "shuffle", "'same' or 'shuffled'"),
        ("schedule", "step", "'onecycle' or 'cosine'"),
        ("learning_rate", 0.0, "a number from"),
        ("learning_rate", math.nan, "a number from"),
        ("learning_rate", "1e-3", "a number from"),
        ("beta1", 1.0, "a number from"),
        ("beta2", -0.1, "a number from"),
        ("weight_decay", None, "a number from"),
        ("temperature", 0.0, "a number from"),
        ("flip", 1, "True or False"),
        ("precision", "float16", "'float32' or 'bfloat16'"),
        ("seed", -1, "from 0"),
        ("seed", 1.0, "whole number"),
        ("seed", False, "whole number"),
    ],
)
def test_config_refuses_values_naming_the_field_and_what_is_allowed(field, value, allowed):
    with pytest.raises(ValueError, match=field) as caught:
        Config(**{field: value})
    assert allowed in str(caught.value) and repr(value) in str(caught.value)


@pytest.mark.parametrize(("name", "close"), [("lambda_mds", "lambda_msd"), ("iteration", "iterations"), ("lr", "")])
def test_config_refuses_unknown_names_with_the_closest_known_one(name, close):
    with pytest.raises(ValueError, match=f"no field '{name}'.*{close}"):
        Config(**{name: 1})
    with pytest.raises(ValueError, match=f"no field '{name}'"):
        replace(TINY, **{name: 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"setting": "D*"}, "at most 1, the number of starts in setting D"),
        ({"setting": "I5", "focal_indices": 46, "batch": 46}, "at most 45"),
        ({"train_stacks": 31}, "train_stacks must be at least 32"),
        ({"pairing": "shuffled", "focal_indices": 16}, "raise batch to 256"),
    ],
)
def test_config_refuses_values_that_contradict_each_other(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)


def test_config_is_canonical_and_survives_json():
    assert Config(lambda_msd=4) == Config(lambda_msd=4.0) and type(Config(width=1).width) is float
    assert Config(**json.loads(json.dumps(asdict(TINY)))) == TINY
    assert Config(setting="D*", focal_indices=1).scenes == 128
    assert [Config(iterations=25, consistency_start=part).trunk_iterations for part in (0, 0.5, 1)] == [0, 12, 25]


def test_trunk_is_the_run_without_consistency():
    run = replace(TINY, pairing="shuffled", lambda_jsd=32)
    assert run.trunk() == replace(TINY, lambda_msd=0, lambda_kld=0) == run.trunk().trunk()


def test_profiles_are_the_ones_promised():
    laptop, paper = (profile_config("laptop", setting="I3"), profile_config("paper", model="l2a", seed=2))
    assert (laptop.backbone, laptop.patch, laptop.batch, laptop.setting) == ("compact", 64, 128, "I3")
    assert (paper.backbone, paper.width, paper.iterations, paper.schedule) == ("mobilenet_v2", 4.0, 60000, "cosine")
    assert (paper.learning_rate, paper.beta1, paper.beta2, paper.weight_decay) == (1e-3, 0.5, 0.999, 1e-4)
    assert profile_config("paper").width == 1.0 and profile_config("smoke").iterations < 50
    for wrong in ({"profile": "labtop"}, {"profile": "laptop", "sed": 1}, {"profile": "laptop", "model": "l2b"}):
        with pytest.raises(ValueError, match="Did you mean|'afpe' or 'l2a'"):
            profile_config(**wrong)
