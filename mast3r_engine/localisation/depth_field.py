"""A smooth error of a depth map: tensor-product cubic B-splines over the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CELLS = 6  # of the spline along the longer side; a network's smooth errors have about this many bumps
ATTENUATION = 151 / 315  # mean sum of squares of the cubic B-spline's values: how much it damps white coefficients, in 2D


def spline_basis(
    xy: Floats,  # (M, 2) pixels
    height: int,
    width: int,
) -> Floats:  # (M, n)
    """Values of the splines at the pixels, scaled so that white coefficients of unit variance give a field of unit variance."""
    spacing = max(height, width) / CELLS
    columns = _along(xy[:, 0] + 0.5, width, spacing)
    rows = _along(xy[:, 1] + 0.5, height, spacing)
    return (rows[:, :, None] * columns[:, None, :]).reshape(len(xy), -1) / ATTENUATION


def _along(
    position: Floats,  # (M,) pixels from the image's edge
    length: int,
    spacing: float,
) -> Floats:  # (M, cells + 3)
    cells = max(2, round(length / spacing))
    u = np.clip(position / length, 0.0, 1.0) * cells
    cell = np.minimum(u.astype(np.int64), cells - 1)
    f = u - cell
    pieces = np.stack([(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3], axis=1) / 6
    values = np.zeros((len(position), cells + 3))
    np.put_along_axis(values, cell[:, None] + np.arange(4), pieces, axis=1)
    return values
