"""Do both cameras see the same side of the surface their matches lie on? Opposite walls may fit each other in space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.canonical_view import CanonicalView

Floats = NDArray[np.float64]

REACH = 2  # pixels to either side over which a surface's slope is taken


def same_side(
    view_i: CanonicalView,
    view_j: CanonicalView,
    xy_i: Floats,  # (M, 2)
    xy_j: Floats,  # (M, 2)
    rotation: Floats,  # (3, 3) frame of j <- frame of i
) -> float:
    """Mean cosine between the surface normals that both views give the matches, each normal facing its own camera.

    1: the same side of the same surface; below 0: seen from its back, so the views cannot show the same thing.
    """
    if not len(xy_i):
        return 0.0
    cosine = np.einsum("mk,mk->m", _normals(view_i, xy_i) @ rotation.T, _normals(view_j, xy_j))
    return float(cosine.mean())


def _normals(view: CanonicalView, xy: Floats) -> Floats:  # (M, 3) unit, zero where the surface has no slope
    x, y = np.rint(xy).astype(np.int64).T
    left, right = np.clip(x - REACH, 0, view.width - 1), np.clip(x + REACH, 0, view.width - 1)
    above, below = np.clip(y - REACH, 0, view.height - 1), np.clip(y + REACH, 0, view.height - 1)
    x, y = np.clip(x, 0, view.width - 1), np.clip(y, 0, view.height - 1)
    flat = view.points.reshape(-1, 3)
    here, right_of, left_of, under, over = (
        flat.take(rows * view.width + columns, axis=0).astype(np.float64).T
        for rows, columns in ((y, x), (y, right), (y, left), (below, x), (above, x))
    )
    a, b = right_of - left_of, under - over
    normal = np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]], axis=1)
    normal *= -np.sign(np.einsum("mk,km->m", normal, here))[:, None]
    length = np.sqrt(np.einsum("mk,mk->m", normal, normal))[:, None]
    unit: Floats = normal / np.where(length > 0, length, 1.0)
    return unit
