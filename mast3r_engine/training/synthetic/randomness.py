"""Random numbers from a generator that is an argument."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(
    generator: torch.Generator,
    shape: tuple[int, ...],
    low: float,
    high: float,
    device: torch.device | None = None,  # None: the generator's
) -> Tensor:
    """Uniform in [low, high)."""
    return torch.rand(shape, generator=generator, device=device or generator.device) * (high - low) + low


def log_uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """Uniform in the logarithm between two positive bounds."""
    return low * (high / low) ** uniform(generator, shape, 0.0, 1.0)


def normal(generator: torch.Generator, shape: tuple[int, ...], sigma: float) -> Tensor:
    """Normal with mean 0."""
    return torch.randn(shape, generator=generator, device=generator.device) * sigma
