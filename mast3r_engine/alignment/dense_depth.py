"""From refined anchors to a depth for every pixel: the anchors' corrections, spread smoothly over the canonical depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from mast3r_engine.alignment.canonical_view import CanonicalView

Floats = NDArray[np.float64]

ROUGHNESS = 0.01  # standard deviation of the log-correction's change from one anchor to the next


def smooth_corrections(
    correction: Floats,  # (h, w) logarithms
    precision: Floats,  # (h, w) 1 / variance of each; 0 where nothing is known
) -> Floats:  # (h, w)
    """Most probable smooth field: sum precision (x - correction)^2 + sum over neighbours of (x - x')^2 / ROUGHNESS^2.

    Fills anchors that no match measures; where all precisions are 0, the corrections are returned as they are.
    """
    if not (precision > 0).any():
        return correction
    transposed = correction.shape[1] > correction.shape[0]
    grid, weight = (correction.T, precision.T) if transposed else (correction, precision)
    rows, columns = grid.shape
    stiffness = ROUGHNESS**-2
    right_link, down_link = np.full((rows, columns), stiffness), np.full((rows, columns), stiffness)
    right_link[:, -1], down_link[-1] = 0.0, 0.0
    diagonal = weight + right_link + down_link
    diagonal[:, 1:] += right_link[:, :-1]
    diagonal[1:] += down_link[:-1]
    band = np.zeros((max(columns, 1) + 1, rows * columns))  # lower form: row k holds the k-th subdiagonal
    band[0] = diagonal.ravel() + 1e-9 * stiffness
    band[1] -= right_link.ravel()
    band[columns] -= down_link.ravel()
    smooth: Floats = solveh_banded(band, (weight * grid).ravel(), lower=True).reshape(rows, columns)
    return smooth.T if transposed else smooth


def spread_to_pixels(
    view: CanonicalView,
    correction: Floats,  # (h, w) logarithms at the anchors
) -> NDArray[np.float32]:  # (H, W) z-depth
    """Canonical depth times the bilinearly interpolated corrections; beyond the outermost anchors they stay constant."""
    over_rows = _interpolate(correction, view.anchor_rows, view.height, axis=0)
    field = _interpolate(over_rows, view.anchor_columns, view.width, axis=1)
    return (view.depth * np.exp(field)).astype(np.float32)


def _interpolate(values: Floats, positions: NDArray[np.int64], length: int, axis: int) -> Floats:
    pixels = np.clip(np.arange(length), positions[0], positions[-1])
    right = np.clip(np.searchsorted(positions, pixels, side="right"), 1, max(len(positions) - 1, 1))
    left = right - 1
    if len(positions) == 1:
        return np.repeat(values, length, axis=axis)
    share = (pixels - positions[left]) / np.maximum(positions[right] - positions[left], 1)
    share = share[:, None] if axis == 0 else share[None, :]
    blend: Floats = np.take(values, left, axis) * (1 - share) + np.take(values, right, axis) * share
    return blend
