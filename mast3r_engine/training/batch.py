"""What a training step is given: pairs of views with exact geometry and correspondences."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PairBatch:
    """B pairs of views of one size; OpenCV axes, metres where `metric`, pixel centres at integers."""

    images: Tensor  # (B, 2, 3, H, W) float32 in [-1, 1]
    depth: Tensor  # (B, 2, H, W) z-depth; 0 or not finite: unknown; negative: sky
    cam2world: Tensor  # (B, 2, 4, 4)
    K: Tensor  # (B, 2, 3, 3) pixels
    metric: Tensor  # (B,) bool, whether the unit is the metre
    xy_first: Tensor  # (B, N, 2) float32 pixels of correspondences in the first view
    xy_second: Tensor  # (B, N, 2) in the second view
    matched: Tensor  # (B, N) bool; False: a pure negative, the two pixels show different points
    portrait: Tensor  # (B, 2) bool; True: taken upright and stored transposed, rows 0 and 1 of K swapped with the pixels' axes

    @property
    def pairs(self) -> int:
        """B."""
        return self.images.shape[0]

    def to(self, device: torch.device | str) -> PairBatch:
        """The same batch on another device."""
        moved = {field.name: getattr(self, field.name).to(device) for field in dataclasses.fields(self)}
        return PairBatch(**moved)


def points_in_camera(
    depth: Tensor,  # (..., H, W)
    K: Tensor,  # (..., 3, 3)
) -> Tensor:  # (..., H, W, 3)
    """Back-project z-depth into its own camera's frame."""
    return pixel_rays(K, *depth.shape[-2:]) * depth[..., None]


def pixel_rays(
    K: Tensor,  # (..., 3, 3) any camera matrix, of a transposed or turned image too
    height: int,
    width: int,
) -> Tensor:  # (..., H, W, 3), z = 1
    """Where each pixel looks, in its camera's frame."""
    y, x = torch.meshgrid(
        torch.arange(height, device=K.device, dtype=K.dtype), torch.arange(width, device=K.device, dtype=K.dtype), indexing="ij"
    )
    pixels = torch.stack((x, y, torch.ones_like(x)), -1)
    return torch.einsum("...ij,hwj->...hwi", torch.linalg.inv(K), pixels)


def points_in_each(batch: PairBatch) -> tuple[Tensor, Tensor]:
    """Both views' points, (B, 2, H, W, 3), in the first camera's frame and in the second's; NaN or 0 where depth is unknown."""
    points = points_in_camera(batch.depth, batch.K)
    first2second = torch.linalg.inv(batch.cam2world[:, 1]) @ batch.cam2world[:, 0]
    second2first = torch.linalg.inv(batch.cam2world[:, 0]) @ batch.cam2world[:, 1]
    in_first = torch.stack((points[:, 0], transform(second2first, points[:, 1])), 1)
    in_second = torch.stack((transform(first2second, points[:, 0]), points[:, 1]), 1)
    return in_first, in_second


def transform(
    pose: Tensor,  # (B, 4, 4)
    points: Tensor,  # (B, H, W, 3)
) -> Tensor:  # (B, H, W, 3)
    """Apply one rigid motion per batch element."""
    return torch.einsum("bij,bhwj->bhwi", pose[:, :3, :3], points) + pose[:, None, None, :3, 3]


def valid_depth(depth: Tensor) -> Tensor:  # (...) -> (...) bool
    """Where depth is known."""
    return torch.isfinite(depth) & (depth > 0)
