"""Cleaning across views: points that float in front of a surface that another view saw with more confidence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mast3r_engine.fusion.surface import back_project

MIN_TOLERANCE, MAX_TOLERANCE = 0.01, 0.1  # of the depth
SAME_SURFACE = 0.2  # relative depth difference below which two views are taken to see one surface


@dataclass(frozen=True)
class DepthView:
    """One registered photograph's depth."""

    depth: Tensor  # (H, W) z-depth, NaN where unknown
    confidence: Tensor  # (H, W)
    K: Tensor  # (3, 3)
    cam2world: Tensor  # (4, 4) float64


def find_floating_points(
    view: DepthView,
    others: list[DepthView],
) -> Tensor:  # (H, W) bool
    """Mark the points of `view` that stand in front of a surer surface of one of the `others`.

    All confidences are read and none is written, so the order of views does not matter.
    """
    floating = torch.zeros_like(view.depth, dtype=torch.bool)
    points = back_project(view.depth, view.K)
    for other in others:
        floating |= _floats_in_front_of(view, points, other)
    return floating


def _floats_in_front_of(view: DepthView, points: Tensor, other: DepthView) -> Tensor:
    u, v, z = _project(points, view, other)
    H, W = other.depth.shape
    inside = (z > 0) & (u >= -0.5) & (u < W - 0.5) & (v >= -0.5) & (v < H - 0.5)
    # NaN compares false above; int conversion needs finite numbers.
    column = torch.where(inside, u, 0.0).round().long().clamp(0, W - 1)
    row = torch.where(inside, v, 0.0).round().long().clamp(0, H - 1)
    seen, nearest = other.depth[row, column], _nearest_around(other.depth)[row, column]
    inside &= torch.isfinite(seen) & torch.isfinite(nearest)
    tolerance = _noise_tolerance((z / seen - 1)[inside])
    return inside & (z < (1 - tolerance) * nearest) & (view.confidence < other.confidence[row, column])


def _project(points: Tensor, view: DepthView, other: DepthView) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel columns, rows and z-depths of `view`'s points in `other`."""
    to_other = (torch.linalg.inv(other.cam2world) @ view.cam2world).to(points.dtype)
    moved = points @ to_other[:3, :3].T + to_other[:3, 3]
    x, y, z = (moved @ other.K.T).unbind(dim=-1)
    return x / z, y / z, z


def _nearest_around(depth: Tensor) -> Tensor:
    """Smallest depth in the 3x3 pixels around: a point beside an edge is held against the nearer of its surfaces."""
    filled = torch.where(depth > 0, depth, torch.inf)
    return -torch.nn.functional.max_pool2d(-filled[None, None], 3, stride=1, padding=1)[0, 0]


def _noise_tolerance(
    difference: Tensor,  # (M,) relative depth difference
) -> float:
    """Three robust standard deviations of what two views say about the same surface."""
    same = difference.abs()[::7]
    same = same[same < SAME_SURFACE]
    if len(same) < 16:
        return MAX_TOLERANCE
    return min(max(3 * 1.4826 * float(same.median()), MIN_TOLERANCE), MAX_TOLERANCE)
