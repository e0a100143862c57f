"""Contrastive losses between the descriptors of correspondences (MASt3R, arXiv:2406.09756, equations 10 and 11)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

MatchingMode = Literal["all", "proper", "dual"]
MATCHING_MODES: tuple[str, ...] = get_args(MatchingMode)
EPS = 1e-8  # floor of every probability


def gather_pixels(
    maps: Tensor,  # (B, H, W, D)
    xy: Tensor,  # (B, N, 2) pixels, rounded to the nearest
) -> Tensor:  # (B, N, D)
    """The map's values at given pixels."""
    column, row = xy.round().long().unbind(-1)
    batch = torch.arange(maps.shape[0], device=maps.device)[:, None]
    return maps[batch, row, column]


def matching_errors(
    desc_first: Tensor,  # (B, N, D) unit vectors
    desc_second: Tensor,  # (B, N, D)
    temperature: float = 0.05,
    mode: MatchingMode = "proper",
) -> Tensor:  # (B, N) one loss per correspondence, also of unmatched ones, which the caller leaves out
    """Cross-entropies with the N x N similarities held in memory; for small N and as the reference of the blockwise ones."""
    similarity = desc_first @ desc_second.transpose(1, 2) / temperature
    positive = similarity.diagonal(dim1=1, dim2=2)
    over_first, over_second = similarity.logsumexp(1), similarity.logsumexp(2)
    return combine(positive, over_first, over_second, mode)


def combine(
    positive: Tensor,  # (B, N) S_kk
    over_first: Tensor,  # (B, N) ln sum_i exp S_ik
    over_second: Tensor,  # (B, N) ln sum_j exp S_kj
    mode: MatchingMode,
) -> Tensor:  # (B, N)
    """From log sums to losses, each log of a probability floored at ln eps."""
    floor = torch.log(torch.tensor(EPS, dtype=positive.dtype, device=positive.device))
    if mode == "all":
        return -torch.maximum(positive - over_second.logsumexp(1, keepdim=True), floor)
    if mode == "dual":
        return -torch.maximum(2 * positive - over_first - over_second, floor)
    return -torch.maximum(positive - over_first, floor) - torch.maximum(positive - over_second, floor)


def confidence_matching_loss(
    errors: Tensor,  # (B, N)
    matched: Tensor,  # (B, N) bool
    confidence_first: Tensor,  # (B, N) positive
    confidence_second: Tensor,  # (B, N)
    alpha: float = 10.0,
) -> Tensor:  # scalar
    """Mean over matched correspondences of error * c - alpha ln c, with c the mean of both confidences; 0 if none is matched."""
    confidence = (confidence_first + confidence_second) / 2
    weighted = torch.where(matched, errors * confidence - alpha * confidence.log(), 0.0)
    return weighted.sum() / matched.sum().clamp(min=1)
