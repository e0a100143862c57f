"""Photographs (or procedural noise) as surface textures: loading, mixing into fresh ones, mip-mapped sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mast3r_engine.training.synthetic.randomness import uniform


@dataclass(frozen=True)
class TextureSet:
    """Textures of one size with all their mip levels, level after level in one buffer."""

    texels: Tensor  # (T, S, 3) float32 in [0, 1], S texels of all levels
    size: int  # edge of level 0, a power of two

    @property
    def levels(self) -> int:
        """How many mip levels there are; the last has one texel."""
        return self.size.bit_length()


def build_mips(
    textures: Tensor,  # (T, 3, S, S), S a power of two
) -> TextureSet:
    """Average 2x2 texels again and again: what a footprint of 2^level texels sees."""
    size = textures.shape[-1]
    levels = [textures]
    while levels[-1].shape[-1] > 1:
        levels.append(functional.avg_pool2d(levels[-1], 2))
    flat = torch.cat([level.flatten(2) for level in levels], dim=2)
    return TextureSet(flat.transpose(1, 2).contiguous(), size)


def sample_textures(
    textures: TextureSet,
    index: Tensor,  # (...) int64 texture of each sample
    uv: Tensor,  # (..., 2) in units of the texture's edge, repeated as mirror images
    footprint: Tensor,  # (...) edge of what a pixel sees, in units of the texture's edge
) -> Tensor:  # (..., 3)
    """Bilinear samples of the mip level whose texel is as large as the footprint (Williams 1983, nearest level)."""
    level = torch.log2((footprint * textures.size).clamp(1.0, textures.size)).round()
    size = torch.exp2(math.log2(textures.size) - level)
    # sum of the levels before: S^2 + (S/2)^2 + ... = (4 S^2 - 4 s^2) / 3 with s this level's edge
    offset = ((4 * textures.size**2 - 4 * size * size) / 3).round().long() + index * textures.texels.shape[1]
    folded = (uv.remainder(2.0) - 1.0).abs()
    position = folded * size[..., None] - 0.5
    corner = position.floor()
    weight = position - corner
    size_whole = size.long()
    low = corner.long()
    x0, x1 = low[..., 0].clamp(min=0), torch.minimum(low[..., 0] + 1, size_whole - 1)
    y0, y1 = low[..., 1].clamp(min=0), torch.minimum(low[..., 1] + 1, size_whole - 1)
    flat = textures.texels.flatten(0, 1)
    wx, wy = weight[..., :1], weight[..., 1:]
    upper = flat[offset + y0 * size_whole + x0] * (1 - wx) + flat[offset + y0 * size_whole + x1] * wx
    lower = flat[offset + y1 * size_whole + x0] * (1 - wx) + flat[offset + y1 * size_whole + x1] * wx
    return upper * (1 - wy) + lower * wy


def mix_textures(
    photos: Tensor,  # (N, 3, R, R) uint8
    count: int,
    size: int,
    generator: torch.Generator,
) -> Tensor:  # (count, 3, size, size) float32 in [0, 1]
    """Fresh textures: random windows of random photographs, recoloured, half of them multiplied with a second window.

    The number of distinct textures bounds what descriptors can learn, and windows of windows are as good as photographs.
    """
    first = _random_windows(photos, count, size, generator)
    second = _random_windows(photos, count, size, generator).mean(dim=1, keepdim=True)
    strength = uniform(generator, (count, 1, 1, 1), 0.0, 1.2, photos.device)
    strength = strength * (uniform(generator, (count, 1, 1, 1), 0.0, 1.0, photos.device) < 0.6)
    mixed = first * (1 + strength * (second - second.mean(dim=(2, 3), keepdim=True)) * 2)
    mean = mixed.mean(dim=(2, 3), keepdim=True)
    contrast = uniform(generator, (count, 1, 1, 1), 0.8, 1.5, photos.device)
    gain = uniform(generator, (count, 3, 1, 1), 0.7, 1.35, photos.device)
    return (((mixed - mean) * contrast + mean) * gain).clamp(0.0, 1.0)


def _random_windows(photos: Tensor, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Rotated, stretched and mirrored windows, resampled bilinearly with mirrored borders."""
    device = photos.device
    chosen = torch.randint(photos.shape[0], (count,), generator=generator, device=device)
    angle = uniform(generator, (count,), -math.pi, math.pi, device)
    scale = uniform(generator, (count, 2), 0.45, 1.0, device)
    shift = uniform(generator, (count, 2), -0.5, 0.5, device)
    cos, sin = angle.cos(), angle.sin()
    rows = torch.stack(
        [cos * scale[:, 0], -sin * scale[:, 1], shift[:, 0], sin * scale[:, 0], cos * scale[:, 1], shift[:, 1]], dim=1
    )
    grid = functional.affine_grid(rows.view(count, 2, 3), [count, 3, size, size], align_corners=False)
    windows = functional.grid_sample(photos[chosen].float() / 255, grid, padding_mode="reflection", align_corners=False)
    permuted: Tensor = windows
    return permuted
