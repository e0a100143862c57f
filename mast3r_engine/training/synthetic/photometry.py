"""What lens, sensor and file do to a rendered image: exposure, colour, blur, noise, JPEG."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from mast3r_engine.training.synthetic.randomness import normal, uniform

# The luminance table of the JPEG standard (ITU T.81, annex K), in raster order.
QUANTISATION = (
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


def photograph(
    colours: Tensor,  # (M, 3, H, W) in [0, 1]
    generator: torch.Generator,
    strength: float = 1.0,  # 0: leave the image as it is
) -> Tensor:  # (M, 3, H, W) in [0, 1]
    """Change every image in its own way."""
    M = colours.shape[0]
    gain = torch.exp(normal(generator, (M, 1, 1, 1), 0.2 * strength) + normal(generator, (M, 3, 1, 1), 0.06 * strength))
    gamma = torch.exp(normal(generator, (M, 1, 1, 1), 0.15 * strength))
    image = (colours.clamp(min=1e-4) ** gamma * gain).clamp(0, 1)
    saturation = 1 + normal(generator, (M, 1, 1, 1), 0.2 * strength)
    grey = image.mean(1, keepdim=True)
    image = grey + (image - grey) * saturation
    image = _blur(image, uniform(generator, (M,), 0.0, 0.25 * strength))
    noise = uniform(generator, (M, 1, 1, 1), 0.0, 0.03 * strength)
    image = image + noise * torch.randn(image.shape, generator=generator, device=image.device)
    coarse = 8 * uniform(generator, (M, 1, 1, 1), 0.0, 1.0) ** 3 * strength
    return compress(image, coarse / 16).clamp(0, 1)


def compress(
    image: Tensor,  # (M, C, H, W) in [0, 1]
    quality_step: Tensor,  # (M, 1, 1, 1) multiple of the standard's table; 1 is JPEG quality 50
) -> Tensor:  # (M, C, H, W)
    """Round the cosine transform of 8x8 blocks as JPEG does, each channel with the luminance table."""
    M, C, H, W = image.shape
    rows, columns = -H % 8, -W % 8
    padded = functional.pad(image, (0, columns, 0, rows), mode="replicate")
    blocks = padded.reshape(M, C, (H + rows) // 8, 8, (W + columns) // 8, 8).transpose(3, 4)  # (M, C, rows, columns, 8, 8)
    basis = _cosine_basis(image.device)
    step = torch.tensor(QUANTISATION, device=image.device).view(8, 8) / 255.0 * quality_step[..., None, None]
    step = step.clamp(min=1e-4)
    spectrum = basis @ blocks @ basis.T
    restored: Tensor = basis.T @ ((spectrum / step).round() * step) @ basis
    return restored.transpose(3, 4).reshape(M, C, H + rows, W + columns)[..., :H, :W]


def _cosine_basis(device: torch.device) -> Tensor:  # (8, 8) orthonormal, frequency first
    k, n = torch.arange(8.0, device=device)[:, None], torch.arange(8.0, device=device)[None]
    basis = torch.cos(math.pi * (2 * n + 1) * k / 16) * 0.5
    return torch.where(k == 0, math.sqrt(0.125), basis)


def _blur(image: Tensor, side: Tensor) -> Tensor:
    """A 3x3 kernel with `side` (M,) beside each centre weight, along both axes."""
    M, C, H, W = image.shape
    kernel = torch.stack((side, 1 - 2 * side, side), 1).repeat_interleave(C, 0)
    flat = functional.pad(image.reshape(1, M * C, H, W), (1, 1, 1, 1), mode="replicate")
    flat = functional.conv2d(flat, kernel[:, None, None, :], groups=M * C)
    flat = functional.conv2d(flat, kernel[:, None, :, None], groups=M * C)
    return flat.view(M, C, H, W)
