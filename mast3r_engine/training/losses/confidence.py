"""Weighting errors by predicted confidences.

ConfLoss of DUSt3R (arXiv:2312.14132, equation 4) for points; the same form over correspondences for descriptors.
"""

from __future__ import annotations

import torch
from torch import Tensor


def confidence_loss(
    error: Tensor,  # (B, 2, H, W)
    counts: Tensor,  # (B, 2, H, W) bool
    confidence: Tensor,  # (B, 2, H, W), at least 1
    alpha: float = 0.2,
    limit: float = 0.0,  # no confidence above this pays; 0: none, as published
) -> Tensor:  # scalar
    """Sum over both views of the mean of error * C - alpha ln C over the batch's counting pixels; an empty view adds 0.

    Smallest at C = alpha / error, or at `limit` if that is less.
    """
    weighted = torch.where(counts, error * confidence - alpha * confidence.log() + _surplus(error, confidence, alpha, limit), 0.0)
    per_view = weighted.sum((0, 2, 3)) / counts.sum((0, 2, 3)).clamp(min=1)
    return per_view.sum()


def confidence_matching_loss(
    errors: Tensor,  # (B, N)
    matched: Tensor,  # (B, N) bool
    confidence_first: Tensor,  # (B, N) positive
    confidence_second: Tensor,  # (B, N)
    alpha: float = 10.0,
    product: bool = False,  # c is the product of both confidences instead of their mean
    negative_quantile: float | None = None,  # also lower the confidence of unmatched pixels
    limit: float = 0.0,  # no confidence above this pays; 0: none, as published
) -> Tensor:  # scalar
    """Mean over matched correspondences of error * c - alpha ln c; 0 if none is matched.

    With `negative_quantile` r, each side of every unmatched correspondence adds the mean of v Q - alpha ln Q to it, v being the
    r-quantile of the matched errors without gradient; otherwise the confidence of unmatched pixels is left free.
    """
    confidence = confidence_first * confidence_second if product else (confidence_first + confidence_second) / 2
    surplus = _surplus(errors, confidence, alpha, limit)
    weighted = torch.where(matched, errors * confidence - alpha * confidence.log() + surplus, 0.0)
    loss = weighted.sum() / matched.sum().clamp(min=1)
    if negative_quantile is None or not bool(matched.any()):
        return loss
    value = errors.detach()[matched].quantile(negative_quantile)
    for side in (confidence_first, confidence_second):
        pushed = torch.where(matched, 0.0, value * side - alpha * side.log())
        loss = loss + pushed.sum() / (~matched).sum().clamp(min=1)
    return loss


def _surplus(error: Tensor, confidence: Tensor, alpha: float, limit: float) -> Tensor:
    """What makes the confidence see an error of at least alpha / limit, so that its optimum is at most `limit`.

    A clamp of the confidence would do so too, but leaves no gradient to come back by. The error's own gradient does not change.
    """
    if limit <= 0:
        return torch.zeros_like(error)
    return (alpha / limit - error).clamp(min=0).detach() * confidence
