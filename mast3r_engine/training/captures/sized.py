"""Reading one frame at the training size: scaled so that the target fits, then cropped about its middle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mast3r_engine.errors import TrainingError
from mast3r_engine.training.captures.frames import Frame


@dataclass(frozen=True)
class SizedFrame:
    """A frame at the training size."""

    pixels: NDArray[np.uint8]  # (H, W, 3)
    depth: NDArray[np.float32]  # (H, W) z-depth, 0 where unknown
    K: NDArray[np.float64]  # (3, 3)


def read_sized(frame: Frame, height: int, width: int) -> SizedFrame:
    """Lanczos when shrinking, bicubic when enlarging, nearest for depth; TrainingError if a file cannot be used."""
    try:
        photo = Image.open(frame.image).convert("RGB")
        depth = read_depth(frame)
    except (OSError, ValueError, UnidentifiedImageError) as error:
        raise TrainingError(f"captures: {frame.image.name} or its depth cannot be read: {error}") from error
    if depth.shape[0] * photo.width != depth.shape[1] * photo.height:
        raise TrainingError(f"captures: depth of {frame.image.name} is {depth.shape[::-1]}; it must have the photograph's shape")
    scale = max(width / photo.width, height / photo.height)
    size = max(round(photo.width * scale), width), max(round(photo.height * scale), height)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    box = (left, top, left + width, top + height)
    filters = Image.Resampling
    resized = photo.resize(size, filters.LANCZOS if scale < 1 else filters.BICUBIC).crop(box)
    known = Image.fromarray(depth).resize(size, filters.NEAREST).crop(box)
    # A pixel centre p of the photograph lies at (p + 0.5) * ratio - 0.5 - offset.
    ratio = np.array([size[0] / photo.width, size[1] / photo.height])
    K = frame.K.copy()
    K[:2, :2] *= ratio[:, None]
    K[:2, 2] = (frame.K[:2, 2] + 0.5) * ratio - 0.5 - np.array([left, top])
    return SizedFrame(np.asarray(resized).copy(), np.asarray(known).copy(), K)


def read_depth(frame: Frame) -> NDArray[np.float32]:  # (H, W), unknown depth as 0
    """A 16-bit PNG or a float array (.npy), times the capture's scale."""
    if frame.depth.suffix == ".npy":
        values = np.load(frame.depth, allow_pickle=False)
    else:
        values = np.asarray(Image.open(frame.depth))
    if values.ndim != 2:
        raise ValueError(f"depth has {values.ndim} dimensions; it must be a map")
    depth = values.astype(np.float32) * np.float32(frame.depth_scale)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))
