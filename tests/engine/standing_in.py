"""Plain objects that stand in for the network, and the grey photographs that the oracle reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mast3r_engine.evaluation.oracle import OracleNetwork, OracleNoise, grey_image, make_scene
from mast3r_engine.predictions import Encoded, ViewPrediction

Decoded = tuple[ViewPrediction, ViewPrediction]


class StandIn:
    """Two methods and nothing else; remembers how it was called. `change` may spoil what is decoded."""

    def __init__(self, oracle: OracleNetwork, change: Callable[[Decoded, Encoded, Encoded], Decoded] | None = None) -> None:
        self._oracle = oracle
        self._change = change
        self.encoded: list[Tensor] = []
        self.decoded: list[tuple[Encoded, Encoded]] = []

    def encode(self, images: Tensor) -> Encoded:
        self.encoded.append(images)
        return self._oracle.encode(images)

    def decode(self, a: Encoded, b: Encoded) -> Decoded:
        self.decoded.append((a, b))
        decoded = self._oracle.decode(a, b)
        return decoded if self._change is None else self._change(decoded, a, b)


def numbers(encoded: Encoded) -> list[int]:
    """The oracle's view numbers in a batch."""
    return [round(number) for number in encoded.tokens[:, 0, 0].tolist()]


def exact_oracle(views: int = 4, height: int = 96, width: int = 128) -> OracleNetwork:
    return OracleNetwork(make_scene(views, height, width, arc_degrees=60), OracleNoise.none())


def photos(oracle: OracleNetwork) -> list[NDArray[np.uint8]]:
    """The grey photographs of all its views."""
    return [grey_image(k, view.height, view.width) for k, view in enumerate(oracle.scene.views)]


def true_poses(oracle: OracleNetwork) -> NDArray[np.float64]:  # (N, 4, 4)
    """cam2world with the first view as the identity."""
    poses = np.stack([view.cam2world for view in oracle.scene.views])
    return np.linalg.inv(poses[0]) @ poses


def with_strange_view(oracle: OracleNetwork, strange: int) -> StandIn:
    """The descriptors of one view resemble those of no other, as where photographs show different things."""

    def change(decoded: Decoded, a: Encoded, b: Encoded) -> Decoded:
        return _blur_out(decoded[0], numbers(a), strange, 0), _blur_out(decoded[1], numbers(b), strange, 1)

    return StandIn(oracle, change)


def _blur_out(prediction: ViewPrediction, views: list[int], strange: int, side: int) -> ViewPrediction:
    assert prediction.desc is not None
    desc = prediction.desc.clone()
    for k, view in enumerate(views):
        if view == strange:
            noise = torch.from_numpy(np.random.default_rng([k, side]).standard_normal(desc[k].shape).astype(np.float32))
            desc[k] = noise / noise.norm(dim=-1, keepdim=True)
    return replace(prediction, desc=desc)
