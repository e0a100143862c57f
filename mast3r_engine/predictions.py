"""What a network gives: encoded images and per-view predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class Encoded:
    """A batch of encoded images of one size."""

    tokens: Tensor  # (B, S, C)
    height: int  # pixels of the image that was encoded
    width: int


@dataclass(frozen=True)
class Outputs:
    """Which heads `decode` runs, each for (first view, second view); ask only networks with `supports_outputs`.

    Points that were not asked for come back as empty maps, `pts3d (B, 0, 0, 3)` and `conf (B, 0, 0)`, so that slicing over
    the batch goes on working and any use of them fails at once; descriptors that were not asked for are None.
    """

    points: tuple[bool, bool] = (True, True)  # pts3d and conf
    descriptors: tuple[bool, bool] = (True, True)  # desc and desc_conf


@dataclass(frozen=True)
class ViewPrediction:
    """What a decoder pass says about one of its two views; points stand in the FIRST view's camera frame.

    OpenCV axes (x right, y down, z forward), metres when the network is metric.
    `conf` > 1 for the published models; `desc` has unit length per pixel.
    All maps are float32 and have the image's height and width, but for points that `Outputs` left out.
    """

    pts3d: Tensor  # (B, H, W, 3)
    conf: Tensor  # (B, H, W)
    desc: Tensor | None = None  # (B, H, W, D)
    desc_conf: Tensor | None = None  # (B, H, W)


@runtime_checkable
class PairNetwork(Protocol):
    """Anything that can stand in for the network in `reconstruct`, `match` and `localize`.

    Optional attributes: `metric` (default True), `patch_size` (default 16), `image_size` (the long edge the network was
    trained for; without it, photographs keep their own size up to 512 pixels), `supports_outputs` (True: `decode`
    takes a third argument, `outputs: Outputs | None`).
    """

    def encode(self, images: Tensor) -> Encoded:
        """Encode images (B, 3, H, W) float32 in [-1, 1]."""

    def decode(self, a: Encoded, b: Encoded) -> tuple[ViewPrediction, ViewPrediction]:
        """Predict both views of B pairs, points in the frame of `a`'s cameras."""
