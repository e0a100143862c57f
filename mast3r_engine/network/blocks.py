"""The transformer's parts: patch embedding, encoder block, decoder block.

Pre-norm, LayerNorm eps 1e-6, exact (erf) GELU. The stream of tokens between the blocks and the normalisations stay float32
in every precision; linear layers compute in the dtype of their weights.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from mast3r_engine.network.attention import CrossAttention, SelfAttention
from mast3r_engine.network.positions import RopeTables

LAYER_NORM_EPS = 1e-6  # not torch's 1e-5


class PatchEmbed(nn.Module):
    """Cut an image into patches and embed each by one linear map."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size)

    def forward(
        self,
        images: Tensor,  # (B, 3, H, W)
    ) -> Tensor:  # (B, S, C), tokens in row-major order
        """Embed the patches."""
        patches: Tensor = self.proj(images.to(self.proj.weight.dtype))
        return patches.flatten(2).transpose(1, 2)


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:  # (B, S, C) -> (B, S, out)
        """Apply to each token."""
        transformed: Tensor = self.fc2(functional.gelu(self.fc1(x.to(self.fc1.weight.dtype))))
        return transformed


class EncoderBlock(nn.Module):
    """Self-attention and MLP, each on normalised tokens and added to the stream."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width, int(width * mlp_ratio), width)

    def forward(self, x: Tensor, rope: RopeTables) -> Tensor:  # (B, S, C) -> (B, S, C)
        """One layer."""
        x = x + self.attn(self.norm1(x), rope)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class DecoderBlock(nn.Module):
    """Self-attention, cross-attention to the other view's tokens, MLP."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, norm_memory: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = SelfAttention(width, heads)
        self.cross_attn = CrossAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.norm3 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width, int(width * mlp_ratio), width)
        self.norm_y = nn.LayerNorm(width, eps=LAYER_NORM_EPS) if norm_memory else nn.Identity()

    def forward(
        self,
        x: Tensor,  # (B, S, C) own tokens
        memory: Tensor,  # (B, T, C) the other view's tokens, as its previous layer left them
        rope: RopeTables,  # of x
        rope_memory: RopeTables,
    ) -> Tensor:  # (B, S, C)
        """One layer of one view."""
        x = x + self.attn(self.norm1(x), rope)
        x = x + self.cross_attn(self.norm2(x), self.norm_y(memory), rope, rope_memory)
        out: Tensor = x + self.mlp(self.norm3(x))
        return out
