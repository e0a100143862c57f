"""From an alignment to a better one: tracks at sub-pixel accuracy, bundle adjustment, depths that follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.bundle.adjust import Held, adjust
from mast3r_engine.bundle.depths import corrected_depth
from mast3r_engine.correspondences import PairMatches
from mast3r_engine.errors import OptionsError
from mast3r_engine.reconstruction import Alignment
from mast3r_engine.tracks import (
    Cameras,
    Observations,
    find_tracks,
    join_tracks,
    reprojection_errors,
    several,
    spread_tracks,
    triangulate,
)
from mast3r_engine.view_priors import ViewPriors

Floats = NDArray[np.float64]

FEWEST_VIEWS = 3  # two leave the focal lengths open, and depths follow them
FEWEST_TRACKS = 50
MOST_TRACKS = 6000  # more add time and little accuracy
ROUNDS = 2
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
    *,
    asked_for: bool = True,
) -> Alignment:
    """`refine_by_bundle` with what priors hold; its statistics, or why nothing was changed, in `stats["bundle"]`.

    `asked_for`: false where the caller wants it if it can be had; a missing solver is then a reason like others.
    """
    if not matches:
        return _left_out(alignment, "bundle adjustment needs matches, and there are none", asked_for)
    try:
        refined, reason = refine_by_bundle(alignment, matches, pixels, _held(alignment, known), on_fraction)
    except OptionsError as error:
        if asked_for:
            raise
        refined, reason = alignment, str(error)
    return refined if reason is None else _left_out(alignment, reason, asked_for)


def refine_by_bundle(
    alignment: Alignment,
    matches: Sequence[PairMatches],
    pixels: Sequence[NDArray[np.uint8]],  # N of (h, w, 3), network size
    held: Held | None = None,
    on_fraction: Callable[[float], None] | None = None,
) -> tuple[Alignment, str | None]:  # and why it was left as it was, if so
    """Refine the largest component. Its frame and scale stay: the first registered camera keeps its pose, the depths their size.

    With poses that are held the frame is theirs. Other components stay as they are. Better cameras find more of the tracks, so
    that a second round follows the first; where that one fails the first one's result stands.
    """
    held = held or Held.nothing(len(alignment.component))
    refined, reason = alignment, None
    for k in range(ROUNDS):
        found, reason = _refine_once(refined, matches, pixels, held)
        if reason is not None:
            break
        refined = found
        if on_fraction is not None:
            on_fraction((k + 1) / ROUNDS)
    return refined, reason if refined is alignment else None


def _refine_once(
    alignment: Alignment, matches: Sequence[PairMatches], pixels: Sequence[NDArray[np.uint8]], held: Held
) -> tuple[Alignment, str | None]:
    registered = int((alignment.component == 0).sum())
    if registered < FEWEST_VIEWS:
        return alignment, f"{registered} photographs; bundle adjustment needs {FEWEST_VIEWS}"
    before = Cameras(alignment.intrinsics, alignment.cam2world)
    seen, points = join_tracks(matches, before, alignment.component, alignment.depth)
    if len(points) < FEWEST_TRACKS:
        return alignment, f"{len(points)} tracks; bundle adjustment needs {FEWEST_TRACKS}"
    seen, points = spread_tracks(seen, points, MOST_TRACKS)
    seen, left = find_tracks(seen, points, before, alignment.depth, pixels)
    points = points[left]
    if len(points) < FEWEST_TRACKS:
        return alignment, f"{len(points)} tracks look alike in two photographs; bundle adjustment needs {FEWEST_TRACKS}"
    first_error = reprojection_errors(seen, triangulate(seen, before), before)
    adjusted = _adjust_twice(seen, points, before, alignment, held)
    if isinstance(adjusted, str):  # a camera that hardly moves says little about focal lengths
        known_focals = dataclasses.replace(held, intrinsics=np.ones_like(held.intrinsics))
        adjusted = _adjust_twice(seen, points, before, alignment, known_focals)
    if isinstance(adjusted, str):
        return alignment, adjusted
    after, kept, points = adjusted
    refined, corrections = _with_depths(alignment, after, kept, points)
    stats = {
        "tracks": len(points),
        "observations": len(kept.track),
        "error_before_px": alignment.stats.get("bundle", {}).get("error_before_px", float(np.median(first_error))),
        "error_after_px": float(np.median(reprojection_errors(kept, points, after))),
        "depth_correction": float(np.median(corrections)),
    }
    return dataclasses.replace(refined, stats={**alignment.stats, "bundle": stats}), None


def _kernel(error: Floats) -> float:
    """Twice the median error of the first round."""
    return float(np.clip(2 * np.median(error), NARROWEST_KERNEL, FIRST_KERNEL))


def _adjust_twice(
    seen: Observations, points: Floats, before: Cameras, alignment: Alignment, held: Held
) -> tuple[Cameras, Observations, Floats] | str:
    """Adjust, leave out what does not agree, adjust the rest with a kernel of its accuracy; or why that cannot be used."""
    sizes = [(depth.shape[0], depth.shape[1]) for depth in alignment.depth]
    after, points = adjust(seen, points, before, sizes, held, FIRST_KERNEL)
    error = reprojection_errors(seen, points, after)
    kept = several(seen.keep(error <= WORST))
    if len(np.unique(kept.track)) < FEWEST_TRACKS:
        return "bundle adjustment found no agreement among the tracks"
    points = _points_left(seen, kept, points)
    after, points = adjust(kept, points, after, sizes, held, _kernel(error))
    after, points = _in_frame(after, points, before, kept, alignment, held)
    return _refusal(before, after, kept, points) or (after, kept, points)


def _left_out(alignment: Alignment, reason: str, asked_for: bool) -> Alignment:
    return dataclasses.replace(alignment, stats={**alignment.stats, "bundle": {"left_out": reason, "asked_for": asked_for}})


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
