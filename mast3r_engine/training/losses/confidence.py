"""Weighting a per-pixel error by a predicted confidence (ConfLoss of DUSt3R, arXiv:2312.14132, equation 4)."""

from __future__ import annotations

import torch
from torch import Tensor


def confidence_loss(
    error: Tensor,  # (B, 2, H, W)
    counts: Tensor,  # (B, 2, H, W) bool
    confidence: Tensor,  # (B, 2, H, W), at least 1
    alpha: float = 0.2,
) -> Tensor:  # scalar
    """Sum over both views of the mean of error * C - alpha ln C over the batch's counting pixels; an empty view adds 0.

    Smallest at C = alpha / error.
    """
    weighted = torch.where(counts, error * confidence - alpha * confidence.log(), 0.0)
    per_view = weighted.sum((0, 2, 3)) / counts.sum((0, 2, 3)).clamp(min=1)
    return per_view.sum()
