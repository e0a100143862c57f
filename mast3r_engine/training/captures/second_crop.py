"""The second crop: each view through a virtual camera that looks at a part of it (MASt3R's `aug_crop`).

Of several windows in either view the two that share most correspondences are taken. A window becomes a camera of its own, turned
so that its principal point is its middle; pixels, depth, intrinsics and pose change together.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mast3r_engine.training.captures.sized import SizedFrame

WINDOWS = 4  # drawn in each view


def enlarged(height: int, width: int, extra: float) -> tuple[int, int]:
    """The size that a view is read at, so that the largest zoom still has a pixel for a pixel."""
    return math.ceil(height * (1 + extra)), math.ceil(width * (1 + extra))


def draw_windows(
    height: int,
    width: int,
    target: tuple[int, int],  # rows, columns of the crop
    generator: torch.Generator,
) -> Tensor:  # (WINDOWS, 4) left, top, right, bottom: borders, pixel centres at integers
    """Zoom from 1 (as much of the view as fits) to a pixel for a pixel, evenly in its logarithm; position uniform."""
    largest = min(height / target[0], width / target[1])
    zoom = torch.exp(torch.rand(WINDOWS, generator=generator) * math.log(max(largest, 1.0)))
    size = torch.stack((target[1] * largest / zoom, target[0] * largest / zoom), -1)
    free = torch.tensor([width, height]) - size
    corner = torch.rand(WINDOWS, 2, generator=generator) * free.clamp(min=0) - 0.5
    return torch.cat((corner, corner + size), -1)


def best_windows(
    windows: tuple[Tensor, Tensor],  # (C, 4) of each view
    xy_first: Tensor,  # (M, 2) correspondences
    xy_second: Tensor,  # (M, 2)
) -> tuple[Tensor, Tensor]:  # (4,), (4,)
    """The couple that contains most correspondences."""
    inside = [
        ((xy[None] > boxes[:, None, :2]) & (xy[None] < boxes[:, None, 2:])).all(-1).float()
        for boxes, xy in zip(windows, (xy_first, xy_second), strict=True)
    ]
    first, second = divmod(int((inside[0] @ inside[1].T).argmax()), len(windows[1]))
    return windows[0][first], windows[1][second]


def crop_virtually(view: SizedFrame, window: Tensor, height: int, width: int) -> SizedFrame:
    """Look through the window with a camera turned towards its middle; beyond the view's edge there is no depth.

    A pixel u of the crop is the pixel K R^-1 K'^-1 u of the view, R turning the old camera's axes into the new one's.
    """
    left, top, right, bottom = window.double().tolist()
    ray = np.linalg.solve(view.K, np.array([(left + right) / 2, (top + bottom) / 2, 1.0]))
    R = _turn_towards(ray)
    K = np.eye(3)
    K[:2, :2] = np.array([[width / (right - left)], [height / (bottom - top)]]) * view.K[:2, :2]
    K[:2, 2] = (width - 1) / 2, (height - 1) / 2
    y, x = np.mgrid[:height, :width]
    rays = np.stack((x, y, np.ones_like(x)), -1) @ (R.T @ np.linalg.inv(K)).T
    rays = rays / rays[..., 2:]  # in the old camera, z = 1: depth there is read as it is
    source = (rays @ view.K.T)[..., :2]
    depth = _nearest(view.depth, source) * (rays @ R.T)[..., 2].astype(np.float32)
    pose = view.cam2world.copy()
    pose[:3, :3] = view.cam2world[:3, :3] @ R.T
    return SizedFrame(_bilinear(view.pixels, source), depth.astype(np.float32), K, pose, view.portrait)


def _turn_towards(ray: NDArray[np.float64]) -> NDArray[np.float64]:  # (3,) -> (3, 3): R ray = (0, 0, |ray|)
    """The smallest rotation that does."""
    x, y, z = ray / np.linalg.norm(ray)
    return np.array([[1 - x * x / (1 + z), -x * y / (1 + z), -x], [-x * y / (1 + z), 1 - y * y / (1 + z), -y], [x, y, z]])


def _nearest(depth: NDArray[np.float32], source: NDArray[np.float64]) -> NDArray[np.float32]:
    column, row = np.rint(source).astype(np.int64).transpose(2, 0, 1)
    H, W = depth.shape
    inside = (column >= 0) & (column < W) & (row >= 0) & (row < H)
    return np.where(inside, depth[row.clip(0, H - 1), column.clip(0, W - 1)], np.float32(0))


def _bilinear(pixels: NDArray[np.uint8], source: NDArray[np.float64]) -> NDArray[np.uint8]:
    H, W = pixels.shape[:2]
    grid = torch.from_numpy((source + 0.5) / [W / 2, H / 2] - 1).float()[None]
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    sampled = functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()
