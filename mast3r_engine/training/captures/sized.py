"""Reading one frame at the training size: scaled so that the target fits, then cropped about its middle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mast3r_engine.errors import TrainingError
from mast3r_engine.training.captures.frames import Frame

SQUARE = 1.1  # height over width from which a photograph is upright; 2 - 1.1 to 1.1 is nearly square


@dataclass(frozen=True)
class SizedFrame:
    """A frame at the training size."""

    pixels: NDArray[np.uint8]  # (H, W, 3)
    depth: NDArray[np.float32]  # (H, W) z-depth, 0 where unknown
    K: NDArray[np.float64]  # (3, 3) of what is stored; rows 0 and 1 swapped with the axes if that is transposed
    cam2world: NDArray[np.float64]  # (4, 4)
    portrait: bool = False  # taken upright and stored transposed


def read_sized(frame: Frame, height: int, width: int, near_square_upright: bool = False) -> SizedFrame:
    """At a landscape size: what was taken upright is brought to the transposed size and stored transposed.

    Lanczos when shrinking, bicubic when enlarging, nearest for depth. Between the two (0.9 < height / width < 1.1) the caller
    decides. TrainingError if a file cannot be used.
    """
    photo, depth = _read(frame)
    aspect = photo.height / photo.width
    portrait = aspect >= SQUARE or (aspect > 2 - SQUARE and near_square_upright)
    if width == height or not portrait:
        return _fit(frame, photo, depth, height, width)
    upright = _fit(frame, photo, depth, width, height)
    return SizedFrame(
        np.ascontiguousarray(upright.pixels.swapaxes(0, 1)), np.ascontiguousarray(upright.depth.T), upright.K[[1, 0, 2]],
        upright.cam2world, portrait=True,
    )  # fmt: skip


def _read(frame: Frame) -> tuple[Image.Image, NDArray[np.float32]]:
    try:
        photo = Image.open(frame.image).convert("RGB")
        depth = read_depth(frame)
    except (OSError, ValueError, UnidentifiedImageError) as error:
        raise TrainingError(f"captures: {frame.image.name} or its depth cannot be read: {error}") from error
    if depth.shape[0] * photo.width != depth.shape[1] * photo.height:
        raise TrainingError(f"captures: depth of {frame.image.name} is {depth.shape[::-1]}; it must have the photograph's shape")
    return photo, depth


def _fit(frame: Frame, photo: Image.Image, depth: NDArray[np.float32], height: int, width: int) -> SizedFrame:
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
    return SizedFrame(np.asarray(resized).copy(), np.asarray(known).copy(), K, frame.cam2world)


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
