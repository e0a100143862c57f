"""The oracle as a network: it reads the view's number from a constant grey image and answers with that view's geometry."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mast3r_engine.errors import NetworkOutputError
from mast3r_engine.evaluation.oracle.noise import OracleNoise
from mast3r_engine.evaluation.oracle.prediction import predict
from mast3r_engine.evaluation.oracle.scene import OracleScene, visible
from mast3r_engine.predictions import Encoded, ViewPrediction

Floats = NDArray[np.float64]

DESCRIPTOR_CHANNELS = 24


class OracleNetwork:
    """Stands in for a network wherever `encode` and `decode` are called.

    `metric=False` gives predictions of an arbitrary scale per pass; `descriptors=False` gives none, like DUSt3R.
    """

    patch_size = 16

    def __init__(
        self,
        scene: OracleScene,
        noise: OracleNoise | None = None,
        *,
        seed: int = 0,
        metric: bool = True,
        descriptors: bool = True,
    ) -> None:
        self.scene = scene
        self.noise = OracleNoise() if noise is None else noise
        self.seed = seed
        self.metric = metric
        self.descriptors = descriptors

    def encode(
        self,
        images: Tensor,  # (B, 3, H, W) in [-1, 1], constant grey
    ) -> Encoded:
        """Read the views' numbers; the tokens carry them and nothing else."""
        numbers = torch.round((images.mean(dim=(1, 2, 3)) + 1) * 127.5)
        height, width = int(images.shape[-2]), int(images.shape[-1])
        tokens = numbers[:, None, None].expand(-1, max(1, (height // 16) * (width // 16)), 8).contiguous()
        return Encoded(tokens, height, width)

    def decode(self, a: Encoded, b: Encoded) -> tuple[ViewPrediction, ViewPrediction]:
        """Predict every pair of the batch."""
        numbers = [(int(x), int(y)) for x, y in zip(a.tokens[:, 0, 0].tolist(), b.tokens[:, 0, 0].tolist(), strict=True)]
        for (first, second), encoded_sizes in zip(
            numbers, [((a.height, a.width), (b.height, b.width))] * len(numbers), strict=True
        ):
            for number, size in zip((first, second), encoded_sizes, strict=True):
                self._check(number, size)
        passes = [self._decode_pair(first, second) for first, second in numbers]
        return _stack([first for first, _ in passes]), _stack([second for _, second in passes])

    def _check(self, number: int, size: tuple[int, int]) -> None:
        if number >= len(self.scene):
            raise NetworkOutputError(f"grey level {number} names no view; the oracle's scene has {len(self.scene)}")
        expected = self.scene.views[number].depth.shape
        if size != expected:
            raise NetworkOutputError(f"view {number} came as {size} (height, width); the oracle rendered it at {expected}")

    def _decode_pair(self, first: int, second: int) -> tuple[list[Floats | None], list[Floats | None]]:
        prediction = predict(self.scene, first, second, self.noise, self.seed)
        scale = 1.0 if self.metric else float(np.exp(np.random.default_rng([self.seed, 501, first, second]).normal()))
        descriptors: list[Floats | None] = [None, None]
        confidences: list[Floats | None] = [None, None]
        if self.descriptors:
            for k, (view, partner) in enumerate(((first, second), (second, first))):
                descriptors[k] = self._describe(view, [first, second, k])
                confidences[k] = self._describe_confidence(view, partner, [first, second, k])
        return (
            [prediction.pts_first * scale, prediction.conf_first, descriptors[0], confidences[0]],
            [prediction.pts_second * scale, prediction.conf_second, descriptors[1], confidences[1]],
        )

    def _describe(self, view: int, key: list[int]) -> Floats:  # (H, W, D)
        """Random Fourier features of the surface point: nearest in descriptors is nearest on the surface."""
        rng = np.random.default_rng([self.seed, 502])
        directions = rng.standard_normal((3, DESCRIPTOR_CHANNELS // 2))
        wavelengths = np.geomspace(0.4, 5.0, DESCRIPTOR_CHANNELS // 2)
        frequencies = directions / np.linalg.norm(directions, axis=0) * (2 * np.pi / wavelengths)
        phase = self.scene.views[view].world_points() @ frequencies
        features = np.concatenate([np.cos(phase), np.sin(phase)], axis=-1) / np.sqrt(DESCRIPTOR_CHANNELS / 2)
        features += self.noise.descriptor * np.random.default_rng([self.seed, 503, *key]).standard_normal(features.shape)
        unit: Floats = features / np.linalg.norm(features, axis=-1, keepdims=True)
        return unit

    def _describe_confidence(self, view: int, partner: int, key: list[int]) -> Floats:  # (H, W)
        own = self.scene.views[view]
        seen = visible(self.scene.views[partner], own.world_points().reshape(-1, 3))[1].reshape(own.depth.shape)
        scatter = np.random.default_rng([self.seed, 504, *key]).standard_normal(seen.shape)
        confidence: Floats = np.where(seen, 5.0, 0.5) * np.exp(self.noise.confidence * scatter)
        return confidence


def _stack(views: list[list[Floats | None]]) -> ViewPrediction:
    columns = [None if column[0] is None else _to_tensor(column) for column in zip(*views, strict=True)]
    points, conf, desc, desc_conf = columns
    assert points is not None
    assert conf is not None
    return ViewPrediction(points, conf, desc, desc_conf)


def _to_tensor(column: tuple[Floats | None, ...]) -> Tensor:
    return torch.from_numpy(np.stack([array for array in column if array is not None]).astype(np.float32))


def grey_image(number: int, height: int, width: int) -> NDArray[np.uint8]:  # (H, W, 3)
    """The picture of view `number` as the oracle reads it."""
    if not 0 <= number <= 255:
        raise ValueError(f"view number {number}; a grey level names views 0 to 255")
    return np.full((height, width, 3), number, np.uint8)
