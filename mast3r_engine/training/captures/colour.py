"""Colour jitter: brightness, contrast, saturation and hue, each image in its own way."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SWING = 0.5  # of brightness, contrast and saturation: factors between 1 - SWING and 1 + SWING
HUE = 0.1  # of a whole turn
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def jitter_colours(
    images: Tensor,  # (M, 3, H, W) in [0, 1]
    generator: torch.Generator,  # on the images' device
    strength: float = 1.0,  # 1: as published; 0: unchanged
) -> Tensor:  # (M, 3, H, W) in [0, 1]
    """Brightness, contrast about the mean grey, saturation, then hue as a turn about the grey axis."""
    M = images.shape[0]
    swings = torch.rand((4, M), generator=generator, device=images.device) * 2 - 1
    brightness, contrast, saturation = (1 + SWING * strength * swings[:3])[..., None, None, None]
    images = (images * brightness).clamp(0, 1)
    mean = grey(images).mean((1, 2, 3), keepdim=True)
    images = (mean + (images - mean) * contrast).clamp(0, 1)
    without = grey(images)
    images = (without + (images - without) * saturation).clamp(0, 1)
    turned = torch.einsum("mij,mjhw->mihw", _hue_turns(2 * math.pi * HUE * strength * swings[3]), images)
    return turned.clamp(0, 1)


def grey(images: Tensor) -> Tensor:  # (M, 3, H, W) -> (M, 1, H, W)
    """Luma."""
    return (images * torch.tensor(LUMA, device=images.device)[:, None, None]).sum(1, keepdim=True)


def _hue_turns(angles: Tensor) -> Tensor:  # (M,) radians -> (M, 3, 3) rotations about (1, 1, 1)
    axis = torch.full((3,), 1 / math.sqrt(3), device=angles.device)
    along = torch.outer(axis, axis)
    a = 1 / math.sqrt(3)
    across = torch.tensor([[0, -a, a], [a, 0, -a], [-a, a, 0]], device=angles.device)
    cosine, sine = angles.cos()[:, None, None], angles.sin()[:, None, None]
    return cosine * torch.eye(3, device=angles.device) + sine * across + (1 - cosine) * along
