"""Average precision of descriptors as a ranking; for evaluation, it has no gradient."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def average_precision(
    desc_first: Tensor,  # (B, N, D) queries
    desc_second: Tensor,  # (B, M, D), the first N belonging to the queries
    block: int = 1024,
) -> Tensor:  # (B, N) in (0, 1]
    """One over the rank of the true partner among all M; ties count as ranked before it."""
    ranks = []
    N = desc_first.shape[1]
    for start in range(0, N, block):
        rows = desc_first[:, start : start + block]
        similarity = rows @ desc_second.transpose(1, 2)
        own = torch.arange(start, start + rows.shape[1], device=rows.device)[None, :, None].expand(rows.shape[0], -1, 1)
        ranks.append((similarity >= similarity.gather(2, own)).sum(2).clamp(min=1))
    return 1.0 / torch.cat(ranks, 1)
