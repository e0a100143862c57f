"""Self- and cross-attention with rotary positions.

Every module here takes tokens in any floating dtype and computes in the dtype of its own weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mast3r_engine.network.positions import RopeTables
from mast3r_kernels.rope2d import rope2d


class SelfAttention(nn.Module):
    """Multi-head attention of a view's tokens among themselves; q, k and v come from one linear layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,  # (B, S, C)
        rope: RopeTables,
    ) -> Tensor:  # (B, S, C)
        """Attend; no mask."""
        qkv = torch.unflatten(self.qkv(x.to(self.qkv.weight.dtype)), -1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = rope2d(qkv[:2], rope.cos, rope.sin, overwrite=True)
        return _project(self.proj, functional.scaled_dot_product_attention(q, k, qkv[2]))


class CrossAttention(nn.Module):
    """Multi-head attention of one view's tokens (queries) to the other view's (memory)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(width, width)
        self.projk = nn.Linear(width, width)
        self.projv = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,  # (B, S, C) own tokens
        memory: Tensor,  # (B, T, C) the other view's tokens
        rope: RopeTables,  # of x
        rope_memory: RopeTables,
    ) -> Tensor:  # (B, S, C)
        """Attend; no mask."""
        x, memory = x.to(self.projq.weight.dtype), memory.to(self.projq.weight.dtype)
        q = rope2d(self._split_heads(self.projq(x)), rope.cos, rope.sin, overwrite=True)
        k = rope2d(self._split_heads(self.projk(memory)), rope_memory.cos, rope_memory.sin, overwrite=True)
        return _project(self.proj, functional.scaled_dot_product_attention(q, k, self._split_heads(self.projv(memory))))

    def _split_heads(self, x: Tensor) -> Tensor:  # (B, S, C) -> (B, heads, S, C / heads)
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)


def _project(proj: nn.Linear, x: Tensor) -> Tensor:  # (B, heads, S, d) -> (B, S, C)
    projected: Tensor = proj(x.transpose(1, 2).flatten(2))
    return projected
