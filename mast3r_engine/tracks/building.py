"""Tracks: pixels of several photographs that see one point, joined from pairwise matches and triangulated with the cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.correspondences import PairMatches
from mast3r_engine.reconstruction import Reconstruction
from mast3r_engine.tracks.joining import join_pixels
from mast3r_engine.tracks.triangulation import Cameras, Observations, triangulate

Floats = NDArray[np.float64]

MAX_ERROR = 2.0  # network pixels between an observation and its point's projection
MAX_DEPTH_ERROR = 0.03  # of the photograph's long edge: how far off a match may be from where the depth puts it


@dataclass(frozen=True)
class Tracks:
    """T points and their O observations, ordered by track, then photograph; each track has at least two photographs."""

    points: Floats  # (T, 3) in the frame of the largest component
    error: Floats  # (T,) mean reprojection error, pixels of the originals
    track: NDArray[np.int64]  # (O,)
    image: NDArray[np.int64]  # (O,) index of the photograph
    keypoint: NDArray[np.int64]  # (O,) place among the photograph's observations, from 0
    xy: Floats  # (O, 2) pixels of the original, the CORNER of the top-left pixel at (0, 0)


def build_tracks(scene: Reconstruction) -> Tracks:
    """Join `scene.matches` within the largest component; see `join_tracks`."""
    cameras = Cameras(scene.network_intrinsics, scene.cam2world)
    seen, points = join_tracks(scene.matches, cameras, scene.component, scene.depth)
    return _in_originals(seen, points, scene)


def join_tracks(
    matches: Sequence[PairMatches],
    cameras: Cameras,
    component: NDArray[np.int64],  # (N,)
    depth: Sequence[NDArray[np.float32]],  # N of (h, w)
) -> tuple[Observations, Floats]:  # and the points (T, 3)
    """Join matches within the largest component.

    Matches that contradict the cameras or the depths are left out before joining, observations that contradict their point
    after it; of two pixels of one photograph in a track the one nearer to the point's projection stays.
    """
    seen = _join([agreeing(pair, cameras, component, depth) for pair in matches], depth)
    for _ in range(2):
        error = reprojection_errors(seen, triangulate(seen, cameras), cameras)
        seen = several(seen.keep(_best_per_image(seen, error) & (error <= MAX_ERROR)))
    return seen, triangulate(seen, cameras)


def agreeing(
    pair: PairMatches, cameras: Cameras, component: NDArray[np.int64], depth: Sequence[NDArray[np.float32]]
) -> PairMatches:
    """The matches of a pair of the largest component that cameras and depths confirm; none of other pairs."""
    if component[pair.i] != 0 or component[pair.j] != 0 or len(pair) == 0:
        return _take(pair, np.zeros(len(pair), bool))
    near = _depth_error(pair.i, pair.xy_i, pair.j, pair.xy_j, depth, cameras) <= MAX_DEPTH_ERROR
    near &= _depth_error(pair.j, pair.xy_j, pair.i, pair.xy_i, depth, cameras) <= MAX_DEPTH_ERROR
    return _take(pair, near & (_sampson(pair, cameras) <= MAX_ERROR))


def _depth_error(
    a: int,
    xy_a: NDArray[np.int64],
    b: int,
    xy_b: NDArray[np.int64],
    depth: Sequence[NDArray[np.float32]],
    cameras: Cameras,
) -> Floats:  # (M,) as a fraction of the long edge of b
    there = depth[a][xy_a[:, 1], xy_a[:, 0]].astype(np.float64)
    points = cameras.lift(np.full(len(xy_a), a), xy_a.astype(np.float64), there)
    off = cameras.project(np.full(len(xy_a), b), points) - xy_b
    distance = np.linalg.norm(off, axis=1) / max(depth[b].shape)
    known: Floats = np.nan_to_num(distance, nan=np.inf)
    return known


def _sampson(pair: PairMatches, cameras: Cameras) -> Floats:  # (M,) network pixels
    """First-order distance of matches to the epipolar geometry of the cameras (Sampson)."""
    relative = np.linalg.inv(cameras.cam2world[pair.j]) @ cameras.cam2world[pair.i]
    t = relative[:3, 3]
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    F = np.linalg.inv(cameras.K[pair.j]).T @ cross @ relative[:3, :3] @ np.linalg.inv(cameras.K[pair.i])
    i, j = (np.concatenate([xy, np.ones((len(pair), 1))], axis=1) for xy in (pair.xy_i, pair.xy_j))
    line_j, line_i = i @ F.T, j @ F
    slope = (line_j[:, :2] ** 2).sum(1) + (line_i[:, :2] ** 2).sum(1)
    distance: Floats = np.abs((j * line_j).sum(1)) / np.sqrt(np.maximum(slope, 1e-300))
    return distance


def _take(pair: PairMatches, chosen: NDArray[np.bool_]) -> PairMatches:
    return PairMatches(pair.i, pair.j, pair.xy_i[chosen], pair.xy_j[chosen], pair.conf[chosen])


def _join(matches: list[PairMatches], depths: Sequence[NDArray[np.float32]]) -> Observations:
    """Tracks over (photograph, pixel)."""
    sizes = np.array([depth.size for depth in depths])
    first = np.concatenate([[0], np.cumsum(sizes)])
    widths = np.array([depth.shape[1] for depth in depths])

    def number(image: int, xy: NDArray[np.int64]) -> NDArray[np.int64]:
        flat: NDArray[np.int64] = first[image] + xy[:, 1] * widths[image] + xy[:, 0]
        return flat

    empty = [np.zeros(0, np.int64)]
    ends = np.stack(
        [
            np.concatenate([number(pair.i, pair.xy_i) for pair in matches] or empty),
            np.concatenate([number(pair.j, pair.xy_j) for pair in matches] or empty),
        ]
    )
    pixels, flat_ends = np.unique(ends, return_inverse=True)
    here, there = flat_ends.reshape(2, -1)
    image = np.searchsorted(first, pixels, side="right") - 1
    y, x = np.divmod(pixels - first[image], widths[image])
    xy, conf = np.stack([x, y], axis=1), np.concatenate([pair.conf for pair in matches] or [np.zeros(0, np.float32)])
    _, track = np.unique(join_pixels(here, there, conf, image, xy), return_inverse=True)
    order = np.lexsort((pixels, track))
    depth = np.array([depths[i][v, u] for i, v, u in zip(image, y, x)], np.float64)
    return Observations(track[order], image[order], xy[order].astype(np.float64), depth[order])


def reprojection_errors(seen: Observations, points: Floats, cameras: Cameras) -> Floats:  # (O,) network pixels
    """How far each observation is from its point's projection; infinity behind the camera."""
    off = cameras.project(seen.image, points[seen.track]) - seen.xy
    error: Floats = np.nan_to_num(np.linalg.norm(off, axis=1), nan=np.inf)
    return error


def _best_per_image(seen: Observations, error: Floats) -> NDArray[np.bool_]:  # (O,)
    """True for the observation of each track and photograph with the smallest error."""
    order = np.lexsort((error, seen.image, seen.track))
    track, image = seen.track[order], seen.image[order]
    leads = np.ones(len(order), bool)
    leads[1:] = (np.diff(track) != 0) | (np.diff(image) != 0)
    best = np.zeros(len(order), bool)
    best[order[leads]] = True
    return best


def several(seen: Observations) -> Observations:
    """Without the tracks that one photograph alone is left of."""
    count = np.bincount(seen.track, minlength=1)
    return seen.keep(count[seen.track] >= 2)


def _in_originals(seen: Observations, points: Floats, scene: Reconstruction) -> Tracks:
    originals = Cameras(scene.intrinsics, scene.cam2world)
    xy, keypoint = np.empty_like(seen.xy), np.empty(len(seen.image), np.int64)
    for i in np.unique(seen.image):
        mine = seen.image == i
        xy[mine] = scene.geometry[i].to_original(seen.xy[mine])
        keypoint[mine] = np.arange(mine.sum())
    off = np.linalg.norm(originals.project(seen.image, points[seen.track]) - xy, axis=1)
    error = np.add.reduceat(off, seen.starts) / np.bincount(seen.track) if len(off) else np.zeros(0)
    return Tracks(points, error, seen.track, seen.image, keypoint, xy + 0.5)
