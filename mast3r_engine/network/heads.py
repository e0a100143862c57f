"""The heads: what turns a view's token layers into raw maps of the image's size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mast3r_engine.network.blocks import Mlp
from mast3r_engine.network.config import NetworkConfig
from mast3r_engine.network.dpt import CHANNELS, Dpt


class LinearHead(nn.Module):
    """Points and confidence from the last layer alone, each token its own patch of pixels."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.proj = nn.Linear(config.dec_embed_dim, CHANNELS * config.patch_size**2)

    def predict_points(self, layers: Sequence[Tensor], rows: int, columns: int) -> Tensor:  # (B, H, W, 4) raw
        """Raw points and confidence."""
        return unfold_patches(self.proj(layers[-1].to(self.proj.weight.dtype)), rows, columns, self.patch_size)


class DptHead(nn.Module):
    """Points and confidence from four layers."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.dpt = Dpt(config)

    def predict_points(self, layers: Sequence[Tensor], rows: int, columns: int) -> Tensor:  # (B, H, W, 4) raw
        """Raw points and confidence."""
        raw: Tensor = self.dpt(layers, rows, columns)
        return raw


class CatMlpDptHead(DptHead):
    """MASt3R's: a DPT for the points, an MLP over first and last layer for the descriptors and their confidence."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.patch_size = config.patch_size
        width = config.enc_embed_dim + config.dec_embed_dim
        channels = config.desc_dim + int(config.two_confs)
        hidden = int(width * config.local_feature_mlp_ratio)
        self.head_local_features = Mlp(width, hidden, channels * config.patch_size**2)

    def predict_descriptors(self, layers: Sequence[Tensor], rows: int, columns: int) -> Tensor:  # (B, H, W, D [+ 1]) raw
        """Raw descriptors, and their confidence as the last channel if the network has two confidences."""
        dtype = self.head_local_features.fc1.weight.dtype
        tokens = torch.cat((layers[0].to(dtype), layers[-1].to(dtype)), dim=-1)  # [encoder | decoder]
        return unfold_patches(self.head_local_features(tokens), rows, columns, self.patch_size)


def build_head(config: NetworkConfig) -> LinearHead | DptHead:
    """The head of one view."""
    if config.head_type == "linear":
        return LinearHead(config)
    return DptHead(config) if config.head_type == "dpt" else CatMlpDptHead(config)


def unfold_patches(
    tokens: Tensor,  # (B, S, C * p * p): channel, row in the patch, column in the patch, the last fastest
    rows: int,
    columns: int,
    patch_size: int,
) -> Tensor:  # (B, H, W, C)
    """Lay each token's vector out as a patch of pixels (a channel-major pixel shuffle), channels last."""
    patches = tokens.reshape(tokens.shape[0], rows, columns, -1, patch_size, patch_size)
    pixels = patches.permute(0, 1, 4, 2, 5, 3)  # (B, rows, p, columns, p, C)
    return pixels.flatten(3, 4).flatten(1, 2)
