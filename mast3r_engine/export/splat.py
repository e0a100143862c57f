"""A cloud as a picture: points splatted as small squares, the nearest on top, seen-from-behind surfaces left away."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.export.viewpoint import Viewpoint

SUPERSAMPLING = 2
MAX_SPLAT = 14  # pixels of the supersampled picture
FILL = 3  # squares this many times larger show where the others leave a gap: sparse floors, far walls


def splat_cloud(
    points: NDArray[np.float32],  # (P, 3)
    colors: NDArray[np.uint8],  # (P, 3)
    normals: NDArray[np.float32],  # (P, 3)
    view: Viewpoint,
    background: tuple[int, int, int],
) -> NDArray[np.uint8]:  # (H, W, 3)
    """Draw the points that face the viewer.

    Walls of a room seen from outside turn their backs to the viewer and are not drawn, so one looks into the room.
    """
    towards_viewer = view.eye.astype(np.float32) - points
    facing = np.einsum("pk,pk->p", normals, towards_viewer)
    facing /= np.maximum(np.linalg.norm(towards_viewer, axis=1), 1e-12)
    seen = facing > 0
    shaded = colors[seen] * (0.7 + 0.3 * facing[seen, None])
    order, cells = _cells_from_far_to_near(points[seen], view)
    ranks = _draw_ranks(cells, view)
    size = _splat_size(cells)
    topmost = _grow(ranks, size)
    topmost = np.where(topmost >= 0, topmost, _grow(ranks, FILL * size)).ravel()
    H, W = view.height, view.width
    canvas = np.empty((H * W * SUPERSAMPLING**2, 3), np.float32)
    canvas[:] = background
    canvas[topmost >= 0] = shaded[order[topmost[topmost >= 0]]]
    blocks = canvas.reshape(H, SUPERSAMPLING, W, SUPERSAMPLING, 3)
    picture: NDArray[np.uint8] = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
    return picture


def _cells_from_far_to_near(
    points: NDArray[np.float32],  # (P, 3)
    view: Viewpoint,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # (Q,) indices of points in the picture, (Q, 2) supersampled pixels
    xy, depth = view.project(points)
    inside = (depth > 0) & (xy >= 0).all(axis=1) & (xy < np.array([view.width, view.height])).all(axis=1)
    order = np.flatnonzero(inside)[np.argsort(-depth[inside], kind="stable")]
    return order, np.floor(xy[order] * SUPERSAMPLING).astype(np.int64)


def _draw_ranks(
    cells: NDArray[np.int64],  # (Q, 2)
    view: Viewpoint,
) -> NDArray[np.int32]:  # (SUPERSAMPLING H, SUPERSAMPLING W)
    """The place in drawing order of the nearest point at each pixel, -1 where there is none."""
    ranks = np.full((SUPERSAMPLING * view.height, SUPERSAMPLING * view.width), -1, np.int32)
    ranks[cells[:, 1], cells[:, 0]] = np.arange(len(cells))  # of points at one pixel the last, that is the nearest, stays
    return ranks


def _grow(ranks: NDArray[np.int32], size: int) -> NDArray[np.int32]:
    """Draw every point as a square of `size` pixels: where squares overlap, the later and nearer one is seen."""
    from scipy.ndimage import maximum_filter

    grown: NDArray[np.int32] = maximum_filter(ranks, size=size, mode="constant", cval=-1)
    return grown


def _splat_size(
    cells: NDArray[np.int64],  # (Q, 2) pixels
) -> int:
    """Squares large enough to cover the area over which the points are spread about four times."""
    if len(cells) == 0:
        return 1
    block = 16
    area = block**2 * len(np.unique(cells // block @ np.array([1, 1 << 32])))
    return int(np.clip(np.ceil(np.sqrt(4.0 * area / len(cells))), 2, MAX_SPLAT))
