"""From an alignment to a better one: tracks at sub-pixel accuracy, bundle adjustment, depths that follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.bundle.adjust import Held, adjust
from mast3r_engine.bundle.depths import corrected_depth
from mast3r_engine.correspondences import PairMatches
from mast3r_engine.reconstruction import Alignment
from mast3r_engine.tracks import Cameras, Observations, find_tracks, join_tracks, reprojection_errors, several, triangulate
from mast3r_engine.view_priors import ViewPriors

Floats = NDArray[np.float64]

FEWEST_TRACKS = 50
MOST_TRACKS = 6000  # more add time and little accuracy
CELL = 16.0  # network pixels
FIRST_KERNEL = 0.5  # network pixels: of the robust loss, as long as the observations' accuracy is unknown
NARROWEST_KERNEL = 0.1
WORST = 3.0  # network pixels: observations that are farther off after the first round are left out of the second
WIDEST_CHANGE = 1.5  # a focal length or a scale that changes by more is no refinement


def refine_alignment(
    alignment: Alignment,
    matches: Sequence[PairMatches],
    pixels: Sequence[NDArray[np.uint8]],  # N of (h, w, 3), network size
    known: ViewPriors,
    on_fraction: Callable[[float], None] | None = None,
) -> Alignment:
    """`refine_by_bundle` with what priors hold; its statistics, or why nothing was changed, in `stats["bundle"]`."""
    if not matches:
        return _left_out(alignment, "bundle adjustment needs matches, and this network or mode gives none")
    refined, reason = refine_by_bundle(alignment, matches, pixels, _held(alignment, known), on_fraction)
    return refined if reason is None else _left_out(alignment, reason)


def refine_by_bundle(
    alignment: Alignment,
    matches: Sequence[PairMatches],
    pixels: Sequence[NDArray[np.uint8]],  # N of (h, w, 3), network size
    held: Held | None = None,
    on_fraction: Callable[[float], None] | None = None,
) -> tuple[Alignment, str | None]:  # and why it was left as it was, if so
    """Refine the largest component. Its frame and scale stay: the first registered camera keeps its pose, the depths their size.

    With poses that are held the frame is theirs. Other components stay as they are.
    """
    report = on_fraction or _nowhere
    held = held or Held.nothing(len(alignment.component))
    before = Cameras(alignment.intrinsics, alignment.cam2world)
    seen, points = join_tracks(matches, before, alignment.component, alignment.depth)
    report(0.2)
    if len(points) < FEWEST_TRACKS:
        return alignment, f"{len(points)} tracks; bundle adjustment needs {FEWEST_TRACKS}"
    seen, points = _spread(seen, points)
    seen, left = find_tracks(seen, points, before, alignment.depth, pixels)
    points = points[left]
    report(0.5)
    if len(points) < FEWEST_TRACKS:
        return alignment, f"{len(points)} tracks look alike in two photographs; bundle adjustment needs {FEWEST_TRACKS}"
    first_error = reprojection_errors(seen, triangulate(seen, before), before)
    sizes = [(depth.shape[0], depth.shape[1]) for depth in alignment.depth]
    after, points = adjust(seen, points, before, sizes, held, FIRST_KERNEL)
    error = reprojection_errors(seen, points, after)
    kept = several(seen.keep(error <= WORST))
    report(0.7)
    if len(np.unique(kept.track)) < FEWEST_TRACKS:
        return alignment, "bundle adjustment found no agreement among the tracks"
    points = _points_left(seen, kept, points)
    after, points = adjust(kept, points, after, sizes, held, _kernel(error))
    after, points = _in_frame(after, points, before, kept, alignment, held)
    report(0.9)
    if reason := _refusal(before, after, kept, points):
        return alignment, reason
    refined, corrections = _with_depths(alignment, after, kept, points)
    error = reprojection_errors(kept, points, after)
    stats = {
        "tracks": len(points),
        "observations": len(kept.track),
        "error_before_px": float(np.median(first_error)),
        "error_after_px": float(np.median(error)),
        "depth_correction": float(np.median(corrections)),
    }
    return dataclasses.replace(refined, stats={**alignment.stats, "bundle": stats}), None


def _kernel(error: Floats) -> float:
    """Twice the median error of the first round."""
    return float(np.clip(2 * np.median(error), NARROWEST_KERNEL, FIRST_KERNEL))


def _nowhere(_: float) -> None:
    """Nobody wants to know."""


def _spread(seen: Observations, points: Floats) -> tuple[Observations, Floats]:
    """At most MOST_TRACKS tracks: the longest of each cell of the photograph that is first to see them, then the next ones."""
    if len(points) <= MOST_TRACKS:
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
    chosen[np.argsort(rank, kind="stable")[:MOST_TRACKS]] = True
    return seen.keep(chosen[seen.track]), points[chosen]


def _left_out(alignment: Alignment, reason: str) -> Alignment:
    return dataclasses.replace(alignment, stats={**alignment.stats, "bundle": {"left_out": reason}})


def _held(alignment: Alignment, known: ViewPriors) -> Held:
    """What is fixed beforehand; photographs share a camera if they do so by their priors and have one size at the network."""
    K = np.nan_to_num(alignment.intrinsics)
    parts = (known.camera, known.zoom, K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2], [d.shape[0] for d in alignment.depth])
    _, camera = np.unique(np.round(np.stack(parts, axis=1), 6), axis=0, return_inverse=True)
    return Held(camera, known.focal_sigma == 0, known.pose_fixed)


def _points_left(seen: Observations, kept: Observations, points: Floats) -> Floats:
    """The points of the tracks that are left, in their order; a track is known by an observation of its own."""
    place = {(i, x, y): t for i, x, y, t in zip(seen.image, *seen.xy.T, seen.track, strict=True)}
    starts = kept.starts
    return points[[place[i, x, y] for i, x, y in zip(kept.image[starts], *kept.xy[starts].T, strict=True)]]


def _in_frame(
    after: Cameras, points: Floats, before: Cameras, seen: Observations, alignment: Alignment, held: Held
) -> tuple[Cameras, Floats]:
    """Put the adjusted scene where the first camera was, at the size that the depths say."""
    registered = np.flatnonzero(alignment.component == 0)
    if held.pose[registered].sum() >= 2:
        return after, points
    z = after.to_camera(seen.image, points[seen.track])[:, 2]
    usable = (z > 0) & (seen.depth > 0)
    scale = float(np.exp(np.median(np.log(seen.depth[usable] / z[usable])))) if usable.any() else 1.0
    if held.pose[registered].any():
        anchors = registered[held.pose[registered]]
    else:  # priors with a covariance place all cameras, else the first one is the frame
        anchors = registered if alignment.given_component == 0 else registered[:1]
    R = _mean_rotation(before.cam2world[anchors, :3, :3] @ after.cam2world[anchors, :3, :3].transpose(0, 2, 1))
    t = (before.cam2world[anchors, :3, 3] - scale * after.cam2world[anchors, :3, 3] @ R.T).mean(axis=0)
    cam2world = after.cam2world.copy()
    cam2world[registered, :3, :3] = R @ after.cam2world[registered, :3, :3]
    cam2world[registered, :3, 3] = scale * after.cam2world[registered, :3, 3] @ R.T + t
    return Cameras(after.K, cam2world), scale * points @ R.T + t


def _mean_rotation(rotations: Floats) -> Floats:  # (n, 3, 3) -> (3, 3)
    """The rotation nearest to the sum."""
    U, _, V = np.linalg.svd(rotations.sum(axis=0))
    nearest: Floats = U @ np.diag([1.0, 1.0, np.linalg.det(U @ V)]) @ V
    return nearest


def _refusal(before: Cameras, after: Cameras, seen: Observations, points: Floats) -> str | None:
    images = np.unique(seen.image)
    change = after.K[images, 0, 0] / before.K[images, 0, 0]
    if not np.isfinite(after.cam2world[images]).all() or not np.isfinite(points).all():
        return "bundle adjustment did not converge"
    if (change > WIDEST_CHANGE).any() or (change < 1 / WIDEST_CHANGE).any():
        return f"bundle adjustment changes a focal length by a factor of {change[np.abs(np.log(change)).argmax()]:.2f}"
    return None


def _with_depths(alignment: Alignment, after: Cameras, seen: Observations, points: Floats) -> tuple[Alignment, list[float]]:
    z = after.to_camera(seen.image, points[seen.track])[:, 2]
    depth, corrections = list(alignment.depth), []
    for i in np.unique(seen.image):
        mine = seen.image == i
        depth[i], correction = corrected_depth(depth[i], seen.xy[mine], z[mine])
        corrections.append(correction)
    return dataclasses.replace(alignment, cam2world=after.cam2world, intrinsics=after.K, depth=depth), corrections
