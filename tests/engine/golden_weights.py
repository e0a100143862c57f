"""Weights and images that anyone can regenerate from a seed; see tests/data/golden/SOURCE.md."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mast3r_engine.network import Network, build_on_meta, projection_aliases

FOLDER = Path(__file__).parents[1] / "data" / "golden"


@dataclass(frozen=True)
class Golden:
    """One golden file: how to regenerate its input, and what the network must give."""

    config: dict[str, Any]
    seed: int
    batch: int
    shape1: tuple[int, int]  # (H, W)
    shape2: tuple[int, int]
    token_stride: int
    output_stride: int
    arrays: dict[str, NDArray[np.float32]]


def read_golden(name: str) -> Golden:
    with np.load(FOLDER / f"{name}.npz") as file:
        meta = json.loads(str(file["meta"]))
        arrays = {key: file[key] for key in file.files if key != "meta"}
    meta.pop("kind")
    shapes = {key: tuple(meta.pop(key)) for key in ("shape1", "shape2")}
    return Golden(**meta, **shapes, arrays=arrays)


def build_with_golden_weights(config: dict[str, Any], seed: int) -> Network:
    net = build_on_meta(config)
    first_name = {name: alias for alias, name in projection_aliases().items()}  # a shared tensor takes its alias' value
    weights = {key: golden_weight(first_name.get(key, key), tuple(value.shape), seed) for key, value in net.state_dict().items()}
    net.load_state_dict(weights, assign=True)
    return net


def golden_weight(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    values = np.random.RandomState((zlib.crc32(key.encode()) + seed) % 2**32).standard_normal(shape)
    if len(shape) >= 2:
        values /= np.sqrt(np.prod(shape[1:]))
    else:
        values = 1 + 0.1 * values if key.endswith("weight") else 0.02 * values
    if ".dpt.head.4." in key:
        values *= 0.2
    return torch.from_numpy(values.astype(np.float32))


def golden_images(seed: int, batch: int, shape: tuple[int, int]) -> Tensor:
    values = np.clip(0.5 * np.random.RandomState(seed).standard_normal((batch, 3, *shape)), -1, 1)
    return torch.from_numpy(values.astype(np.float32))
