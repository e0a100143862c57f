"""Cosines and sines of the rotary position embedding, one table per token grid."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class RopeTables(NamedTuple):
    """Angles' cosines and sines for the tokens of one grid; row angles first, column angles second."""

    cos: Tensor  # (S, head_dim / 2) float32
    sin: Tensor  # (S, head_dim / 2) float32


@lru_cache(maxsize=32)
def rope_tables(rows: int, columns: int, head_dim: int, base: float, device: torch.device) -> RopeTables:
    """Tables for a row-major grid of rows x columns tokens, positions counted from 0.

    Angle i of position p is p * base^(-i / Q) with Q = head_dim / 4, in float32 (RoFormer, arXiv:2104.09864, by axis).
    Shared by all blocks, heads and batches; kept outside the state dict.
    """
    # A table made inside torch.inference_mode() could not be used by autograd later on.
    with torch.inference_mode(False), torch.no_grad():
        quarter = head_dim // 4
        frequencies = (base ** (-torch.arange(quarter, dtype=torch.float64) / quarter)).float()
        y, x = torch.meshgrid(torch.arange(rows).float(), torch.arange(columns).float(), indexing="ij")
        angles = torch.cat((y.reshape(-1, 1) * frequencies, x.reshape(-1, 1) * frequencies), dim=1)
        return RopeTables(angles.cos().to(device), angles.sin().to(device))
