"""Norm factors: one positive number per batch element that measures how large a pair's point maps are."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

NormMode = Literal["avg_dis", "avg_log1p", "avg_warp-log1p", "median_dis", "sqrt_dis"]
NORM_MODES: tuple[str, ...] = get_args(NormMode)
FLOOR = 1e-8


def norm_factor(
    points: Tensor,  # (B, 2, H, W, 3) both views in one frame
    valid: Tensor,  # (B, 2, H, W) bool
    mode: NormMode = "avg_dis",
) -> Tensor:  # (B, 1, 1, 1, 1), at least 1e-8
    """Mean (or another mean) distance of the valid points of both views to the frame's origin."""
    points, valid = points.flatten(1, -2), valid.flatten(1)
    distance = safe_norm(torch.where(valid[..., None], points, 0.0))
    if mode == "avg_warp-log1p":
        warp = torch.log1p(distance) / distance.clamp(min=FLOOR)
        distance = safe_norm(torch.where(valid[..., None], points * warp[..., None], 0.0))
    if mode == "avg_log1p":
        distance = torch.log1p(distance)
    if mode == "sqrt_dis":
        distance = torch.where(valid, distance.clamp(min=1e-12), 0.0).sqrt()
    if mode == "median_dis":
        factor = torch.where(valid, distance, torch.nan).nanmedian(dim=1).values.nan_to_num(0.0)
    else:
        factor = (distance * valid).sum(1) / (valid.sum(1) + 1e-8)
    if mode == "sqrt_dis":
        factor = factor.square()
    return factor.clamp(min=FLOOR)[:, None, None, None, None]


def safe_norm(vectors: Tensor) -> Tensor:  # (..., C) -> (...)
    """Euclidean length whose gradient is zero at zero."""
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return length
