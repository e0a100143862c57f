"""The surface that a depth map describes: points, normals, and how steeply it falls away from the viewer."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# A surface seen at a flatter angle than this is either too poorly sampled to be of use or a ramp that a network drew between
# a foreground and the background behind it ("flying pixels").
MAX_SLANT_DEGREES = 85.0


def back_project(
    depth: Tensor,  # (H, W) z-depth
    K: Tensor,  # (3, 3) pixels, centres at integers
) -> Tensor:  # (H, W, 3)
    """Lift a depth map to points in the camera's frame (OpenCV axes)."""
    H, W = depth.shape
    v, u = torch.meshgrid(
        torch.arange(H, dtype=depth.dtype, device=depth.device),
        torch.arange(W, dtype=depth.dtype, device=depth.device),
        indexing="ij",
    )
    y = (v - K[1, 2]) / K[1, 1]
    x = (u - K[0, 2] - K[0, 1] * y) / K[0, 0]
    return torch.stack((x * depth, y * depth, depth), dim=-1)


def estimate_normals(
    points: Tensor,  # (H, W, 3) camera frame
) -> Tensor:  # (H, W, 3)
    """Cross product of the tangents along rows and columns, unit length, towards the camera.

    A tangent leans on the neighbour whose depth differs less, so that normals beside an edge are those of their own surface.
    Where there is no tangent the normal is the direction to the camera.
    """
    normals = torch.linalg.cross(_tangent(points, dim=1), _tangent(points, dim=0))
    length = normals.norm(dim=-1, keepdim=True)
    towards_camera = -points / points.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    known = torch.isfinite(length) & (length > 1e-20)
    normals = torch.where(known, normals / length.clamp_min(1e-20), towards_camera)
    facing = (normals * towards_camera).sum(dim=-1, keepdim=True)
    return torch.where(facing < 0, -normals, normals)


def find_flying_pixels(
    depth: Tensor,  # (H, W) z-depth
    K: Tensor,  # (3, 3)
) -> Tensor:  # (H, W) bool
    """Mark pixels whose depth differs steeply from BOTH neighbours along rows or along columns.

    The sharp sides of a clean depth step stay; the pixels that were drawn in between go.
    """
    limit = math.tan(math.radians(MAX_SLANT_DEGREES))
    steep_along_rows = _smaller_jump(depth, dim=1) * K[0, 0] > limit
    steep_along_columns = _smaller_jump(depth, dim=0) * K[1, 1] > limit
    return steep_along_rows | steep_along_columns


def _smaller_jump(depth: Tensor, dim: int) -> Tensor:
    """Relative depth change per pixel to the nearer neighbour; 0 where there is no neighbour."""
    before, after = _jumps(depth, dim)
    smaller = torch.minimum(before, after)
    return torch.where(torch.isfinite(smaller), smaller, 0.0)


def _tangent(points: Tensor, dim: int) -> Tensor:
    before, after = _jumps(points[..., 2], dim)
    step_before, step_after = points - points.roll(1, dim), points.roll(-1, dim) - points
    # Weights run against the jumps; a missing neighbour (infinite jump) has none.
    weight_before = 1.0 / (before + 1e-6)
    weight_after = 1.0 / (after + 1e-6)
    weighted = torch.where(torch.isfinite(before)[..., None], step_before * weight_before[..., None], 0.0)
    weighted = weighted + torch.where(torch.isfinite(after)[..., None], step_after * weight_after[..., None], 0.0)
    total: Tensor = weighted / (weight_before + weight_after)[..., None]
    return total


def _jumps(depth: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """|ln(z / z')| to the neighbour before and after along `dim`; infinite where one of both is missing."""
    size = depth.shape[dim]
    log_depth = torch.where(depth > 0, depth, torch.nan).log()
    after = (log_depth.roll(-1, dim) - log_depth).abs().nan_to_num(nan=torch.inf)
    after = after.index_fill(dim, torch.tensor([size - 1], device=depth.device), torch.inf)
    return after.roll(1, dim), after
