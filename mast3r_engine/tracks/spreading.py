"""Fewer tracks that still cover all photographs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.tracks.triangulation import Observations

CELL = 16.0  # network pixels


def spread_tracks(
    seen: Observations,
    points: NDArray[np.float64],  # (T, 3)
    most: int,
) -> tuple[Observations, NDArray[np.float64]]:
    """At most `most` tracks: the longest of each cell of the photograph that is first to see them, then the next ones."""
    if len(points) <= most:
        return seen, points
    length = np.bincount(seen.track)
    cell = np.rint(seen.xy[seen.starts] / CELL).astype(np.int64)
    place = np.lexsort((-length, cell[:, 0], cell[:, 1], seen.image[seen.starts]))
    key = np.stack([seen.image[seen.starts], *cell.T], axis=1)[place]
    new_cell = np.ones(len(place), bool)
    new_cell[1:] = (np.diff(key, axis=0) != 0).any(axis=1)
    starts = np.flatnonzero(new_cell)
    rank = np.empty(len(place), np.int64)
    rank[place] = np.arange(len(place)) - np.repeat(starts, np.diff(np.append(starts, len(place))))
    chosen = np.zeros(len(points), bool)
    chosen[np.argsort(rank, kind="stable")[:most]] = True
    return seen.keep(chosen[seen.track]), points[chosen]
