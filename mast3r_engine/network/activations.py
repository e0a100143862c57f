"""From the heads' raw numbers to points, confidences and descriptors; always in float32."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mast3r_engine.network.config import Activation


def activate_points(
    raw: Tensor,  # (..., 3) camera coordinates, their length still to be mapped
    mode: Activation,
) -> Tensor:  # (..., 3) float32
    """Keep the direction and map the distance to the origin: expm1 (`exp`), its square (`square`), or unchanged (`linear`)."""
    raw = raw.float()
    if mode.kind == "linear":
        return raw
    distance = torch.linalg.vector_norm(raw, dim=-1, keepdim=True)
    mapped = torch.expm1(distance) if mode.kind == "exp" else distance.square()
    points: Tensor = raw * (mapped / distance.clamp(min=1e-8))
    return points


def activate_confidence(
    raw: Tensor,  # (...)
    mode: Activation,
) -> Tensor:  # (...) float32
    """`exp`: low + min(exp(raw), high - low); `sigmoid`: between low and high."""
    raw = raw.float()
    if mode.kind == "sigmoid":
        return (mode.high - mode.low) * torch.sigmoid(raw) + mode.low
    confidence = raw.exp()
    if math.isfinite(mode.high):
        confidence = confidence.clamp(max=mode.high - mode.low)
    return confidence + mode.low if mode.low else confidence


def normalise_descriptors(
    raw: Tensor,  # (..., D)
) -> Tensor:  # (..., D) float32, unit length
    """Divide by the length; there is no epsilon."""
    raw = raw.float()
    descriptors: Tensor = raw / torch.linalg.vector_norm(raw, dim=-1, keepdim=True)
    return descriptors
