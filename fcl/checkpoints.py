"""Checkpoints: one safetensors file each, the config inside as JSON. No pickled code is ever run.

A checkpoint holds the whole state of a training (fcl.training fills it), a kept network the weights alone.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fcl.config import Config
from fcl.files import reading, replacing
from fcl.models import build_model
from fcl.randomness import torch_generator

TEXTS = "texts"  # among the checksums
AGAIN = "put back the file that you had, or move this one away, and the network is trained again"


class Step(NamedTuple):
    """One iteration: how many are done, the losses (nats) before its update, and its learning rate."""

    iteration: int
    loss: float
    ordinal: float
    consistency: float
    learning_rate: float


class Checkpoint(NamedTuple):
    """What a checkpoint says of its run: config, curve so far, seconds spent, those of its trunk included, and the code,
    {"commit", "clean"}, from which it began; clean if it was clean at every start.
    """

    config: Config
    curve: list[Step]
    seconds: float
    code: dict[str, Any]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], config: Config, **texts: str) -> None:
    """Write tensors, the config, further texts and the checksums of all as one file, which appears whole or not at all."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    texts = {"config": json.dumps(asdict(config)), **texts}
    with replacing(path) as temporary:
        save_file(tensors, temporary, texts | {"checksums": json.dumps(_checksums(tensors, texts))})


def read_tensors(path: Path, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors whose name begins with `prefix`, which is cut off, and the texts beside them.

    Raises ValueError when the file is missing, damaged or no checkpoint. Files without checksums were written before these.
    """
    with reading(path, AGAIN), safe_open(path, "pt") as file:
        texts = file.metadata() or {}
        if "config" not in texts:
            raise ValueError("it is no checkpoint of this project: it holds no config")
        tensors = {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}
        checksums = json.loads(texts.pop("checksums", "null"))
        if checksums is not None:
            wanted = {name: value for name, value in checksums.items() if name.startswith((prefix, TEXTS))}
            if _checksums(tensors, texts) != wanted:
                raise ValueError("its content is not what was written")
    return {name.removeprefix(prefix): value for name, value in tensors.items()}, texts


def _checksums(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> dict[str, int]:
    """CRC-32 of each tensor, and of all texts together under the name TEXTS."""
    sums = {name: zlib.crc32(value.reshape(-1).view(torch.uint8).numpy()) for name, value in tensors.items()}
    return sums | {TEXTS: zlib.crc32(json.dumps(texts, sort_keys=True).encode())}


def pack_curve(curve: list[Step]) -> Tensor:
    """Steps as a float64 tensor (iterations, 5)."""
    return torch.tensor(curve, dtype=torch.float64).reshape(-1, len(Step._fields))


def unpack_curve(curve: Tensor) -> list[Step]:
    """The inverse of `pack_curve`."""
    return [Step(int(iteration), *values) for iteration, *values in curve.tolist()]


def read_checkpoint(path: Path) -> Checkpoint:
    """Config, curve, seconds and code of a checkpoint. ValueError for a missing or damaged file, and for a kept network."""
    tensors, texts = read_tensors(path, "curve")
    if not tensors:
        raise ValueError(f"{path} is a kept network: it holds no training curve")
    with reading(path, AGAIN):
        code = json.loads(texts.get("code", '{"commit": null, "clean": null}'))
        return Checkpoint(Config(**json.loads(texts["config"])), unpack_curve(tensors[""]), float(texts["seconds"]), code)


def new_model(config: Config, device: torch.device | str = "cpu") -> nn.Module:
    """The network of a config with its initial weights, in the memory layout that convolutions like best."""
    generator = torch_generator(config.seed, "weights")
    model = build_model(config.model, config.setting, config.backbone, config.width, generator)
    return model.to(device=device, memory_format=torch.channels_last)


def save_model(model: nn.Module, config: Config, path: Path) -> None:
    """Keep a trained network: weights and config, nothing else."""
    write_tensors(path, {f"model.{name}": value for name, value in model.state_dict().items()}, config)


def load_model(path: Path, device: torch.device | str = "cpu") -> nn.Module:
    """The network of a checkpoint or a kept one, in evaluation mode, with its Config as `model.config`.

    Raises ValueError for a missing or damaged file.
    """
    weights, texts = read_tensors(path, "model.")
    with reading(path, AGAIN):
        config = Config(**json.loads(texts["config"]))
        model = new_model(config, device)
        model.load_state_dict(weights)
    model.config = config
    return model.eval()
