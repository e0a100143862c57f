"""Matches between pixels: the peak of descriptor similarity around an integer match.

Integer matches err by up to half a pixel, and where the cameras are nearly aligned whole surfaces err alike, which no statistics
of the residuals can see. The similarity of one pixel's descriptor with those around its partner is close to a paraboloid; its
peak, fitted by least squares over a window, is the match.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RADIUS = 2  # pixels; a window of 5x5 averages the descriptors' noise and still lies on one surface
# Pixels along and across epipolar lines: slanted surfaces skew the window, so that all peaks on one err alike (calibration
# study).
SHARED_ERROR = (0.03, 0.02)
FARTHEST = 1.0  # pixels; a peak farther away is no peak of this match


def refine_matches(
    desc_fixed: NDArray[np.float32],  # (H, W, D)
    desc_moving: NDArray[np.float32],  # (H', W', D)
    xy_fixed: NDArray[np.int64],  # (M, 2)
    xy_moving: NDArray[np.int64],  # (M, 2)
) -> Floats:  # (M, 2) moving pixels
    """Move each match in one image to the peak of similarity; matches without a clear peak stay where they are."""
    H, W = desc_moving.shape[:2]
    dy, dx = (axis.ravel() for axis in np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1])
    x, y = xy_moving[:, :1] + dx, xy_moving[:, 1:] + dy  # (M, n)
    inside = ((x >= 0) & (x < W) & (y >= 0) & (y < H)).all(axis=1)
    around = desc_moving[np.clip(y, 0, H - 1), np.clip(x, 0, W - 1)]  # (M, n, D)
    centre = desc_fixed[xy_fixed[:, 1], xy_fixed[:, 0]]
    similarity = np.einsum("mnd,md->mn", around, centre).astype(np.float64)
    design = np.stack([np.ones_like(dx), dx, dy, 0.5 * dx * dx, dx * dy, 0.5 * dy * dy], axis=1).astype(np.float64)
    _, gx, gy, a, b, c = (similarity @ np.linalg.pinv(design).T).T
    determinant = a * c - b * b
    peaked = inside & (a < 0) & (determinant > 1e-3 * (a * a + c * c)) & (determinant > 0)
    safe = np.where(peaked, determinant, 1.0)
    offset = np.stack([(b * gy - c * gx) / safe, (b * gx - a * gy) / safe], axis=1)
    good = peaked & (np.linalg.norm(offset, axis=1) <= FARTHEST)
    peaks: Floats = xy_moving.astype(np.float64) + np.where(good[:, None], offset, 0.0)
    return peaks
