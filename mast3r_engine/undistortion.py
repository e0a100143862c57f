"""Photographs of a lens as those of a pinhole: of the same size, with the lens's own focal length and principal point."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from mast3r_engine.lens import Lens

Floats = NDArray[np.float64]

ROWS_AT_ONCE = 256  # of the result: a photograph's coordinates would be many times its size


def undistort(
    pixels: NDArray[np.uint8],  # (H, W, 3) of the lens, the upright original or a smaller copy of it
    lens: Lens,
) -> NDArray[np.uint8]:  # (H, W, 3) of the pinhole `lens.undistorted_K`, at the same size; black where the lens saw nothing
    """Resample bilinearly."""
    height, width = pixels.shape[:2]
    to_original = np.array([lens.width / width, lens.height / height])
    result = np.zeros_like(pixels)
    for top in range(0, height, ROWS_AT_ONCE):
        rows = np.arange(top, min(top + ROWS_AT_ONCE, height))
        grid = np.stack(np.meshgrid(np.arange(width), rows), axis=-1)
        there, seen = in_original((grid + 0.5) * to_original - 0.5, lens)
        place = (there + 0.5) / to_original - 0.5
        for channel in range(3):
            values = map_coordinates(pixels[..., channel], [place[..., 1], place[..., 0]], np.float32, order=1, mode="nearest")
            result[rows, :, channel] = np.where(seen, np.rint(values), 0)
    return result


def in_original(
    xy: Floats,  # (..., 2) pixels of the undistorted photograph
    lens: Lens,
) -> tuple[Floats, NDArray[np.bool_]]:  # (..., 2) pixels of the original, (...,) whether the lens saw them
    """Where pixels of the undistorted photograph lie in the original."""
    K = lens.undistorted_K
    flat = (np.asarray(xy, np.float64) - K[:2, 2]) / np.diagonal(K)[:2]
    rays = np.concatenate([flat, np.ones((*flat.shape[:-1], 1))], axis=-1)
    return lens.project(rays), lens.sees(rays)


def in_undistorted(
    xy: Floats,  # (..., 2) pixels of the original
    lens: Lens,
) -> Floats:  # (..., 2) pixels of the undistorted photograph; NaN where it has none
    """Where pixels of the original lie in the undistorted photograph, inside it or not."""
    K = lens.undistorted_K
    there: Floats = lens.unproject(xy) * np.diagonal(K)[:2] + K[:2, 2]
    return there
