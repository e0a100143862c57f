"""The op in plain torch: it defines what is right and runs where nothing is compiled."""

from __future__ import annotations

import torch
from torch import Tensor


def rope2d_reference(
    x: Tensor,  # (..., S, C)
    cos: Tensor,  # (S, C/2) float32
    sin: Tensor,  # (S, C/2) float32
) -> Tensor:  # (..., S, C)
    """Rotate pairs (i, i + C/4) inside each half of the vectors; see `rope2d`."""
    (cos_y, cos_x), (sin_y, sin_x) = cos.chunk(2, dim=-1), sin.chunk(2, dim=-1)
    y1, y2, x1, x2 = x.chunk(4, dim=-1)
    rotated_y = (y1 * cos_y - y2 * sin_y, y2 * cos_y + y1 * sin_y)
    rotated_x = (x1 * cos_x - x2 * sin_x, x2 * cos_x + x1 * sin_x)
    # Products of bfloat16 with the float32 tables are float32: rounded once, here.
    return torch.cat((*rotated_y, *rotated_x), dim=-1).to(x.dtype)
