"""Focal length from a point map in its own camera frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROUNDS = 10  # of iteratively reweighted least squares


def fit_focal(
    points: Floats,  # (M, 3) camera frame
    centred_xy: Floats,  # (M, 2) pixels minus the principal point
    weights: Floats,  # (M,)
    longest_side: int,
) -> float:
    """Weiszfeld fit of one focal length (square pixels): the f that minimises sum w |p - f q| with rays q = (X/Z, Y/Z).

    Clamped to 0.5 to 3.5 times the focal length of a 60 degree view; that of 60 degrees itself without usable points.
    """
    typical = longest_side / (2 * np.tan(np.radians(30)))
    usable = (points[:, 2] > 0) & np.isfinite(points).all(1) & (weights > 0)
    if not usable.any():
        return float(typical)
    rays = points[usable, :2] / points[usable, 2:]
    pixels, w = centred_xy[usable], weights[usable]
    dot_pq, dot_qq = (pixels * rays).sum(1), (rays * rays).sum(1)
    focal = _ratio(w @ dot_pq, w @ dot_qq, typical)
    for _ in range(ROUNDS):
        distance = np.linalg.norm(pixels - focal * rays, axis=1)
        irls = w / np.maximum(distance, 1e-8)
        focal = _ratio(irls @ dot_pq, irls @ dot_qq, typical)
    return float(np.clip(focal, 0.5 * typical, 3.5 * typical))


def _ratio(numerator: float, denominator: float, otherwise: float) -> float:
    ratio = numerator / denominator if denominator > 1e-12 else otherwise
    return float(ratio) if np.isfinite(ratio) and ratio > 0 else float(otherwise)
