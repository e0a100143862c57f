"""Contrastive losses between the descriptors of correspondences (MASt3R, arXiv:2406.09756, equations 10 and 11).

Similarities are S = d1 d2^T / temperature over all N rows and M >= N columns of one pair; columns beyond N are further negatives.
Unmatched correspondences are pure negatives: they stand in the denominators, and the caller leaves out their own losses.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from mast3r_engine.training.losses.log_sums import log_sums

MatchingMode = Literal["all", "proper", "dual"]
Reduction = Literal["mean", "sum", "none", "1-mean"]
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


def sample_pixels(
    maps: Tensor,  # (B, H, W, D)
    xy: Tensor,  # (B, N, 2) pixels, centres at integers
) -> Tensor:  # (B, N, D)
    """The map's values between pixels, bilinear; outside the image those of its border."""
    H, W = maps.shape[1:3]
    x, y = xy[..., 0].clamp(0, W - 1), xy[..., 1].clamp(0, H - 1)
    left, top = x.floor().clamp(max=max(W - 2, 0)), y.floor().clamp(max=max(H - 2, 0))
    total = torch.zeros((), dtype=maps.dtype, device=maps.device)
    for column, share_x in ((left, left + 1 - x), (left + 1, x - left)):
        for row, share_y in ((top, top + 1 - y), (top + 1, y - top)):
            place = torch.stack((column.clamp(max=W - 1), row.clamp(max=H - 1)), -1)
            total = total + gather_pixels(maps, place) * (share_x * share_y)[..., None]
    return total


def matching_errors(
    desc_first: Tensor,  # (B, N, D) unit vectors
    desc_second: Tensor,  # (B, M, D), the first N belonging to desc_first's
    temperature: float = 0.05,
    mode: MatchingMode = "proper",
    block: int = 1024,  # rows whose similarities are in memory at once
) -> Tensor:  # (B, N)
    """One loss per correspondence, without ever holding the N x M similarities; ValueError if the mode needs M = N."""
    N = desc_first.shape[1]
    if desc_second.shape[1] != N and mode != "all":
        raise ValueError(
            f"matching mode {mode!r} needs as many second as first descriptors; {desc_second.shape[1]} and {N}; use 'all'"
        )
    positive = (desc_first * desc_second[:, :N]).sum(-1) / temperature
    over_first, over_second = log_sums(desc_first, desc_second, temperature, block)
    return combine(positive, over_first, over_second, mode)


def point_matching_errors(
    points_first: Tensor,  # (B, N, 3)
    points_second: Tensor,  # (B, N, 3)
    mode: MatchingMode = "proper",
    temperature: float = 0.05,
) -> Tensor:  # (B, N)
    """The same between point maps instead of descriptors, with similarity 1 / (1 + distance); holds N x N."""
    difference = points_first[:, :, None] - points_second[:, None]
    similarity = 1 / (1 + torch.linalg.vector_norm(difference, dim=-1)) / temperature
    return combine(similarity.diagonal(dim1=1, dim2=2), similarity.logsumexp(1), similarity.logsumexp(2), mode)


def combine(
    positive: Tensor,  # (B, N) S_kk
    over_first: Tensor,  # (B, M) ln sum_i exp S_ik
    over_second: Tensor,  # (B, N) ln sum_j exp S_kj
    mode: MatchingMode,
) -> Tensor:  # (B, N)
    """From log sums to losses. Probabilities are floored at eps: each factor in `proper`, the product in `dual`."""
    floor = torch.log(torch.tensor(EPS, dtype=positive.dtype, device=positive.device))
    if mode == "all":
        return -torch.maximum(positive - over_second.logsumexp(1, keepdim=True), floor)
    if mode == "dual":
        return -torch.maximum(2 * positive - over_first - over_second, floor)
    return -torch.maximum(positive - over_first, floor) - torch.maximum(positive - over_second, floor)


def shuffle_into_blocks(
    tensors: list[Tensor],  # each (B, N, ...)
    size: int,  # N must be a multiple
    generator: torch.Generator,
) -> list[Tensor]:  # each (B * N / size, size, ...)
    """Deal the correspondences of each pair at random into independent groups, the same ones in all tensors."""
    B, N = tensors[0].shape[:2]
    if N % size:
        raise ValueError(f"{N} correspondences cannot be dealt into blocks of {size}; N must be a multiple")
    order = torch.rand((B, N), generator=generator, device=generator.device).argsort(1).to(tensors[0].device)
    batch = torch.arange(B, device=order.device)[:, None]
    return [tensor[batch, order].reshape(B * N // size, size, *tensor.shape[2:]) for tensor in tensors]


def unused_pixels(
    xy: Tensor,  # (B, N, 2) pixels of correspondences
    height: int,
    width: int,
    count: int,
) -> Tensor:  # (B, K, 2) int64
    """The first `count` pixels in raster order that are no correspondence (`negatives_padding`)."""
    taken = torch.zeros(xy.shape[0], height * width, dtype=torch.bool, device=xy.device)
    column, row = xy.round().long().unbind(-1)
    taken.scatter_(1, row * width + column, True)
    free = taken.to(torch.uint8).argsort(dim=1, stable=True)[:, :count]
    return torch.stack((free % width, free // width), -1)


def reduce_errors(
    errors: Tensor,  # (B, N)
    matched: Tensor,  # (B, N) bool
    reduction: Reduction = "mean",
) -> Tensor:  # scalar, or (M,) for "none"
    """Over matched correspondences; mean and 1-mean of nothing are 0 and 1."""
    if reduction == "none":
        return errors[matched]
    total = torch.where(matched, errors, 0.0).sum()
    if reduction == "sum":
        return total
    mean = total / matched.sum().clamp(min=1)
    return 1 - mean if reduction == "1-mean" else mean
