"""The alignment of one connected component: initialisation, 3D stage, 2D stage, dense depths."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.camera_state import CameraState, ReprojectionOptions
from mast3r_engine.alignment.canonical_view import CanonicalView
from mast3r_engine.alignment.dense_depth import smooth_corrections, spread_to_pixels
from mast3r_engine.alignment.initial_poses import initial_poses, strongest_view
from mast3r_engine.alignment.pair_geometry import PairGeometry
from mast3r_engine.alignment.point_stage import refine_on_points
from mast3r_engine.alignment.reprojection_problem import ReprojectionProblem, build_problem
from mast3r_engine.alignment.reprojection_stage import ReprojectionResult, refine_on_pixels
from mast3r_engine.alignment.similarity import split_similarity

Floats = NDArray[np.float64]

INLIER_SIGMAS = 3.0
LEAST_INLIER_ERROR = 1.5  # pixels: matches are integers, so smaller errors say nothing


@dataclass(frozen=True)
class ComponentResult:
    """Cameras and depths of N images that hang together, in a common frame with one of them as the root."""

    cam2world: Floats  # (N, 4, 4)
    focal: Floats  # (N,) pixels
    depth: list[NDArray[np.float32]]  # N of (H, W)
    inliers: list[int]  # per pair: matches that agree with the final cameras in every direction
    stats: dict[str, Any]


def align_component(
    views: Sequence[CanonicalView],
    pairs: Sequence[PairGeometry],  # connected; i, j into `views`
    *,
    shared_focal: bool,
    pixel_steps: int,  # 0: the 3D stage has the last word
    on_progress: Callable[[float], None] | None = None,
) -> ComponentResult:
    """Align images that pairs connect."""
    clock = [time.perf_counter()]
    root = strongest_view(len(views), pairs)
    start = initial_poses(len(views), pairs, root)
    clock.append(time.perf_counter())
    coarse = refine_on_points(start, pairs, root)
    clock.append(time.perf_counter())
    problem = build_problem(views, pairs)
    options = ReprojectionOptions(max_steps=pixel_steps, shared_focal=shared_focal)
    fine = refine_on_pixels(problem, _first_state(problem, coarse.poses, shared_focal), root, options, on_progress)
    clock.append(time.perf_counter())
    cam2world, depth = _metric_result(views, problem, fine)
    clock.append(time.perf_counter())
    seconds = dict(zip(("initialise", "points", "pixels", "depth"), np.diff(clock).tolist(), strict=True))
    return ComponentResult(
        cam2world,
        np.exp(fine.state.log_focal),
        depth,
        _count_inliers(problem, fine, pairs),
        {
            "seconds": seconds,
            "point_costs": coarse.costs,
            "pixel_costs": fine.costs,
            "pixel_median_errors": fine.median_errors,
            "pixel_sigma": fine.sigma.tolist(),
        },
    )


def _first_state(problem: ReprojectionProblem, poses: Floats, shared_focal: bool) -> CameraState:
    s, R, C = split_similarity(poses)
    log_focal = np.log(problem.focal)
    if shared_focal:
        log_focal = np.full(len(s), log_focal.mean())
    log_size = np.log(s)
    log_depth = np.log(problem.canonical_depth) + np.repeat(log_size, np.diff(problem.anchor_start))
    return CameraState(R, C, log_focal, np.zeros((len(s), 2)), log_size, log_depth, log_size)


def _metric_result(
    views: Sequence[CanonicalView], problem: ReprojectionProblem, fine: ReprojectionResult
) -> tuple[Floats, list[NDArray[np.float32]]]:
    """Spread the depths' corrections and put the scale where their mean over the images' medians is 0."""
    state = fine.state
    correction = state.log_depth - np.log(problem.canonical_depth)
    fields = []
    for k, grid in enumerate(problem.grid):
        mine = slice(problem.anchor_start[k], problem.anchor_start[k + 1])
        fields.append(smooth_corrections(correction[mine].reshape(grid), fine.curvature[mine].reshape(grid)))
    excess = float(np.mean([np.median(field) for field in fields]))
    cam2world = np.tile(np.eye(4), (len(views), 1, 1))
    cam2world[:, :3, :3] = state.rotation
    cam2world[:, :3, 3] = state.centre * np.exp(-excess)
    return cam2world, [spread_to_pixels(view, field - excess) for view, field in zip(views, fields, strict=True)]


def _count_inliers(problem: ReprojectionProblem, fine: ReprojectionResult, pairs: Sequence[PairGeometry]) -> list[int]:
    bound = max(INLIER_SIGMAS * float(np.median(fine.sigma)), LEAST_INLIER_ERROR)
    first = np.concatenate([[0], np.cumsum([len(pair.points) for pair in pairs])]).astype(np.int64)
    ways = np.bincount(problem.undirected, minlength=first[-1])
    good_ways = np.bincount(problem.undirected, fine.squared_error < bound**2, first[-1])
    agrees = (ways > 0) & (good_ways == ways)
    return [int(agrees[a:b].sum()) for a, b in pairwise(first)]
