"""Checkpoints: one safetensors file each, the config inside as JSON. No pickled code is ever run.

A checkpoint holds the whole state of a training (fcl.training fills it), a kept network the weights alone.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fcl.config import Config
from fcl.files import replacing
from fcl.models import build_model
from fcl.randomness import torch_generator


class Step(NamedTuple):
    """One iteration: how many are done, the losses (nats) before its update, and its learning rate."""

    iteration: int
    loss: float
    ordinal: float
    consistency: float
    learning_rate: float


class Checkpoint(NamedTuple):
    """What a checkpoint says of its run: config, curve so far, seconds spent, those of its trunk included, and the code
    (`companion.runs.provenance.code_state`) from which it began; clean if it was clean at every start.
    """

    config: Config
    curve: list[Step]
    seconds: float
    code: dict[str, Any]


def write_tensors(path: Path, tensors: dict[str, Tensor], config: Config, **about: str) -> None:
    """Write tensors, the config and further texts as one file, which appears whole or not at all."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, {"config": json.dumps(asdict(config)), **about})


def read_tensors(path: Path, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors whose name begins with `prefix`, which is cut off, and the texts beside them.

    Raises FileNotFoundError, and ValueError when the file is spoilt.
    """
    try:
        with safe_open(path, "pt") as file:
            if "config" not in (file.metadata() or {}):
                raise ValueError(f"{path} is no checkpoint of this project: it holds no config")
            names = [name for name in file.keys() if name.startswith(prefix)]
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}, file.metadata()
    except SafetensorError as error:
        raise ValueError(f"{path} is no checkpoint, or half of one ({error}): remove it") from None


def pack_curve(curve: list[Step]) -> Tensor:
    """Steps as a float64 tensor (iterations, 5)."""
    return torch.tensor(curve, dtype=torch.float64).reshape(-1, len(Step._fields))


def unpack_curve(curve: Tensor) -> list[Step]:
    """The inverse of `pack_curve`."""
    return [Step(int(iteration), *values) for iteration, *values in curve.tolist()]


def read_checkpoint(path: Path) -> Checkpoint:
    """Config, curve and seconds of a checkpoint. Raises ValueError for a spoilt file or a kept network."""
    tensors, about = read_tensors(path, "curve")
    if not tensors:
        raise ValueError(f"{path} is a kept network: it holds no training curve")
    code = json.loads(about.get("code", '{"commit": null, "clean": null}'))
    return Checkpoint(_config(about), unpack_curve(tensors[""]), float(about["seconds"]), code)


def _config(about: dict[str, str]) -> Config:
    return Config(**json.loads(about["config"]))


def new_model(config: Config, device: torch.device | str = "cpu") -> nn.Module:
    """The network of a config with its initial weights, in the memory layout that convolutions like best."""
    generator = torch_generator(config.seed, "weights")
    model = build_model(config.model, config.setting, config.backbone, config.width, generator)
    return model.to(device=device, memory_format=torch.channels_last)


def save_model(model: nn.Module, config: Config, path: Path) -> None:
    """Keep a trained network: weights and config, nothing else."""
    write_tensors(path, {f"model.{name}": value for name, value in model.state_dict().items()}, config)


def load_model(path: Path, device: torch.device | str = "cpu") -> nn.Module:
    """The network of a checkpoint or a kept one, in evaluation mode, with its Config as `model.config`."""
    weights, about = read_tensors(path, "model.")
    config = _config(about)
    model = new_model(config, device)
    model.load_state_dict(weights)
    model.config = config
    return model.eval()
