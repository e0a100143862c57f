"""Minimal solvers with RANSAC, through poselib: essential matrix, absolute pose, homography.

Pixel centres are at integers here and poselib only ever sees differences to the principal point, so that no half-pixel shift is
needed as long as pixels and principal point agree.

poselib 2.0.5 takes its thresholds as `max_reproj_error` and `max_epipolar_error`; later versions renamed them and ignore unknown
names silently, which would leave 12 pixels in force. The names are therefore looked up before they are used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.localisation.observation import PairObservation
from mast3r_engine.localisation.rigid_motion import invert, rigid

Floats = NDArray[np.float64]

MAX_ITERATIONS = 2_000
MIN_ITERATIONS = 100
EPIPOLAR_POINTS = 5
ABSOLUTE_POINTS = 6  # three define the pose; fewer than six say nothing about it


def solve_relative_pose(
    pair: PairObservation,
    threshold: float,  # network pixels
    seed: int,
) -> tuple[Floats, NDArray[np.bool_]] | None:  # (4, 4) query2reference with a translation of length 1, (M,) inliers
    """Essential matrix on the matches, the surest first."""
    if len(pair) < EPIPOLAR_POINTS:
        return None
    import poselib

    order = np.argsort(-pair.conf, kind="stable")
    cameras = _camera(pair.K_query, pair.size_query), _camera(pair.K_reference, pair.size_reference)
    options = ransac_options("max_epipolar_error", threshold, seed)
    found, info = poselib.estimate_relative_pose(pair.xy_query[order], pair.xy_reference[order], *cameras, options, {})
    inliers = np.zeros(len(pair), bool)
    inliers[order] = np.asarray(info["inliers"], bool)
    pose = rigid(np.asarray(found.R), np.asarray(found.t))
    length = np.linalg.norm(pose[:3, 3])
    if not np.isfinite(pose).all() or length < 1e-12 or not inliers.any():
        return None
    pose[:3, 3] /= length
    return pose, inliers


def solve_absolute_pose(
    xy: Floats,  # (M, 2) pixels
    points: Floats,  # (M, 3)
    order: Floats,  # (M,) larger: tried earlier
    K: Floats,  # (3, 3)
    size: tuple[int, int],  # height, width
    threshold: float,  # pixels
    seed: int,
) -> Floats | None:  # (4, 4) from the camera's frame to that of the points
    """Perspective-three-point with local optimisation and refinement."""
    if len(xy) < ABSOLUTE_POINTS:
        return None
    import poselib

    first = np.argsort(-order, kind="stable")
    options = ransac_options("max_reproj_error", threshold, seed)
    found, info = poselib.estimate_absolute_pose(xy[first], points[first], _camera(K, size), options, {})
    to_camera = rigid(np.asarray(found.R), np.asarray(found.t))
    if info["num_inliers"] < ABSOLUTE_POINTS or not np.isfinite(to_camera).all():
        return None
    return invert(to_camera)


def solve_homography_poses(
    pair: PairObservation,
    threshold: float,  # network pixels
    seed: int,
) -> tuple[list[Floats], NDArray[np.bool_]]:  # (4, 4) query2reference each, translation in plane distances; (M,) inliers
    """Homography reference -> query and the (up to four) motions it decomposes into."""
    import poselib

    options = ransac_options("max_reproj_error", threshold, seed)
    H, info = poselib.estimate_homography(pair.xy_reference, pair.xy_query, options, {})
    calibrated = np.linalg.inv(pair.K_query) @ np.asarray(H) @ pair.K_reference
    if not np.isfinite(calibrated).all() or abs(np.linalg.det(calibrated)) < 1e-12:
        return [], np.zeros(len(pair), bool)
    motions, _ = poselib.motion_from_homography(calibrated * np.sign(np.linalg.det(calibrated)))
    poses = [invert(rigid(np.asarray(motion.R), np.asarray(motion.t))) for motion in motions]
    return [pose for pose in poses if np.isfinite(pose).all()], np.asarray(info["inliers"], bool)


def ransac_options(
    threshold_name: str,
    threshold: float,  # pixels
    seed: int,
) -> dict[str, Any]:
    """RANSAC options by names that this poselib knows; RuntimeError when it does not know them."""
    import poselib

    options = {
        threshold_name: threshold,
        "max_iterations": MAX_ITERATIONS,
        "min_iterations": MIN_ITERATIONS,
        "success_prob": 0.9999,
        "progressive_sampling": True,
        "seed": seed,
    }
    unknown = sorted(set(options) - set(poselib.RansacOptions()))
    if unknown:
        raise RuntimeError(f"poselib {poselib.__version__} does not know the option {unknown[0]!r}; install poselib 2.0.5")
    return options


def _camera(K: Floats, size: tuple[int, int]) -> dict[str, Any]:
    return {"model": "PINHOLE", "width": size[1], "height": size[0], "params": [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]}
