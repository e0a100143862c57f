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
    quarter = x.shape[-1] // 4
    cosines, sines = cos.view(-1, 2, quarter), sin.view(-1, 2, quarter)
    first, second = torch.unflatten(x, -1, (2, 2, quarter)).unbind(-2)  # each (..., S, 2, C/4): [row | column]
    rotated = torch.stack((first * cosines - second * sines, second * cosines + first * sines), dim=-2)
    return rotated.flatten(-3).to(x.dtype)
