"""Removing shift and scale before point maps are compared; for evaluation."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_SCALE, MAX_SCALE = 1e-3, 1e3  # bounds of a prediction's scale


def remove_depth_shift(
    points: Tensor,  # (B, 2, H, W, 3) both views in the first camera's frame
    valid: Tensor,  # (B, 2, H, W) bool
) -> Tensor:  # (B, 2, H, W, 3)
    """Subtract the joint median z of both views' valid points (ShiftInv)."""
    z = _nan_where_invalid(points, valid)[..., 2].flatten(1)
    median = middle(z, dim=1)[:, None, None, None]
    return torch.cat((points[..., :2], (points[..., 2] - median)[..., None]), -1)


def spread(
    points: Tensor,  # (B, 2, H, W, 3)
    valid: Tensor,  # (B, 2, H, W) bool
) -> Tensor:  # (B, 1, 1, 1, 1)
    """Median distance of the valid points to their component-wise median (the scale of ScaleInv)."""
    flat = _nan_where_invalid(points, valid).flatten(1, 3)
    centre = middle(flat, dim=1)[:, None]
    distance = torch.linalg.vector_norm(flat - centre, dim=-1)
    return middle(distance, dim=1)[:, None, None, None, None]


def remove_scale(
    predicted: Tensor,  # (B, 2, H, W, 3)
    truth: Tensor,  # (B, 2, H, W, 3)
    valid: Tensor,  # (B, 2, H, W) bool
    gt_scale: bool = False,
) -> tuple[Tensor, Tensor]:
    """Divide both by their spread, or with `gt_scale` give the prediction the ground truth's (ScaleInv)."""
    scale_truth = spread(truth, valid)
    scale_predicted = spread(predicted, valid).clamp(MIN_SCALE, MAX_SCALE)
    if gt_scale:
        return predicted * (scale_truth / scale_predicted), truth
    return predicted / scale_predicted, truth / scale_truth


def middle(values: Tensor, dim: int) -> Tensor:
    """Median that leaves NaN out; of an even count the lower one, as torch has it."""
    return values.nanmedian(dim=dim).values


def _nan_where_invalid(points: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid[..., None], points, torch.nan)
