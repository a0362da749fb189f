"""What several test files share: small stacks, a project folder of its own, made-up runs."""

import shutil
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import load_file

from companion.runs import writing
from companion.runs.identity import run_folder
from companion.weights import Weights
from fcl.checkpoints import Step, read_tensors
from fcl.config import Config
from fcl.prediction import Predictions
from fcl.stacks import FocalStacks
from fcl.training import train

ROOT = Path(__file__).parents[1]
CHOSEN = {"msd": "msd6", "kld": "kld4", "jsd": "jsd32", "fcl": "msd4+kld4"}
TINY = Config(width=0.25, patch=16, train_stacks=12, batch=16, iterations=8, lambda_msd=4, lambda_kld=2, seed=3)


def random_stacks(count=12, patch=16, seed=0):
    """Focal stacks of noise, as small as a network takes them."""
    numbers = np.random.default_rng(seed)
    slices = numbers.integers(64, 1024, (count, 49, 2, patch, patch), dtype=np.uint16)
    positions = numbers.uniform(-1, 1, (count, 2)).astype(np.float32)
    categories = np.array(["plain", "dark"] * count)[:count]
    return FocalStacks(slices, numbers.integers(0, 49, count), positions, categories, black=64, white=1023)


STACKS = random_stacks(6)


def store(config, profile="laptop", split="test", stacks=STACKS):
    """A complete run with made-up predictions; returns the path of its record."""
    starts = {"D1": 49, "I1": 49, "D2": 48, "D*": 1}[config.setting]
    numbers = np.random.default_rng(config.seed)
    predictions = Predictions(
        numbers.integers(0, 49, (len(stacks), starts)).astype(np.uint8),
        numbers.uniform(0, 48, (len(stacks), starts)).astype(np.float16),
        numbers.uniform(0, 3, (len(stacks), starts)).astype(np.float16),
        numbers.integers(0, 49, (len(stacks), starts)).astype(np.uint8),
    )
    folder, run = run_folder(profile, config, split), Weights.of(config).name
    writing.write_labels(folder.parent, stacks, split)
    writing.write_predictions(folder, run, predictions)
    writing.write_curve(folder, run, [Step(1, 4.5, 3.5, 1.0, 1e-3)])
    writing.write_record(
        folder,
        config,
        profile=profile,
        seconds={"trunk": 1.0, "branch": 1.0, "predict": 1.0},
        stacks={"split": split, "count": len(stacks), "seed": 7, "digest": stacks.digest},
        threads=1,
    )
    return folder / f"{run}.json"


def finish(config, stacks, **options):
    return list(train(config, stacks, **options))


def damaged(content, count, seed=0):
    """A file's content, `count` times with one bit flipped or cut off somewhere, each named."""
    numbers = np.random.default_rng(seed)
    for place in numbers.integers(0, len(content), count).tolist():
        if numbers.random() < 0.2:
            yield f"cut at {place}", content[:place]
        else:
            bit = 1 << int(numbers.integers(8))
            yield f"bit {bit} of byte {place}", content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


def assert_same_state(one, other):
    """Two checkpoints agree in every tensor (weights, moments, dropout, curve) and in the sampler."""
    a, b = load_file(one), load_file(other)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name
    about, others = read_tensors(one, "none")[1], read_tensors(other, "none")[1]
    assert about["sampler"] == others["sampler"] and about["config"] == others["config"]


def use_project(folder, monkeypatch):
    """Let this folder be the project's, here and in every process that is started."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    monkeypatch.setenv("FCL_PROJECT", str(folder))
    return folder


def make_project(folder, monkeypatch):
    """Let the project be in `folder`, with the real profiles, weights chosen for D1 alone, and no runs."""
    (folder / "experiments").mkdir()
    for name in ("profiles.yml", "kept_networks.yml"):
        shutil.copy(ROOT / "experiments" / name, folder / "experiments")
    (folder / "experiments" / "weights.yml").write_text(yaml.safe_dump({"laptop": {"afpe": {"D1": CHOSEN}}}))
    return use_project(folder, monkeypatch)
