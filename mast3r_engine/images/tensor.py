"""From 8-bit pixels to the network's input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mast3r_engine.views import View


def to_tensor(
    views: Sequence[View],
) -> Tensor:  # (B, 3, H, W) float32 in [-1, 1]
    """Scale the pixels of B views of one size to (v / 255 - 0.5) / 0.5, in float32; ValueError when sizes differ."""
    sizes = sorted({view.pixels.shape for view in views})
    if len(sizes) != 1:
        raise ValueError(f"a batch holds views of one size; these have {sizes or 'none'}")
    pixels = torch.from_numpy(np.stack([view.pixels for view in views]))
    return ((pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5).contiguous()
