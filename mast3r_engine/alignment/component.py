"""The alignment of one connected component: initialisation, 3D stage, 2D stage, dense depths."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.camera_state import ReprojectionOptions
from mast3r_engine.alignment.canonical_view import CanonicalView
from mast3r_engine.alignment.contradictions import Contradiction, correction_fields, find_contradictions, measured_sizes
from mast3r_engine.alignment.dense_depth import spread_to_pixels
from mast3r_engine.alignment.first_state import first_state
from mast3r_engine.alignment.given_frame import GivenFrame, fit_given_frame
from mast3r_engine.alignment.initial_poses import initial_poses, strongest_view
from mast3r_engine.alignment.known_cameras import KnownCameras
from mast3r_engine.alignment.pair_geometry import PairGeometry
from mast3r_engine.alignment.point_stage import refine_on_points
from mast3r_engine.alignment.reprojection_problem import ReprojectionProblem, build_problem
from mast3r_engine.alignment.reprojection_stage import ReprojectionResult, refine_on_pixels
from mast3r_engine.view_priors import ViewPriors

Floats = NDArray[np.float64]

INLIER_SIGMAS = 3.0
LEAST_INLIER_ERROR = 1.5  # pixels: matches are integers, so smaller errors say nothing


@dataclass(frozen=True)
class ComponentResult:
    """Cameras and depths of N images that hang together, in a common frame with one of them as the root."""

    cam2world: Floats  # (N, 4, 4)
    focal: Floats  # (N,) pixels
    principal_point: Floats  # (N, 2) pixels
    depth: list[NDArray[np.float32]]  # N of (H, W)
    inliers: list[int]  # per pair: matches that agree with the final cameras in every direction
    stats: dict[str, Any]
    in_given_frame: bool = False  # that of the priors, instead of one of its own
    in_given_unit: bool = False
    contradictions: list[Contradiction] = field(default_factory=list)  # numbered as the component's images


def align_component(
    views: Sequence[CanonicalView],
    pairs: Sequence[PairGeometry],  # connected; i, j into `views`
    *,
    shared_focal: bool,
    pixel_steps: int,  # 0: the 3D stage has the last word
    priors: ViewPriors | None = None,  # of the N views
    metric: bool = True,
    seed: int = 0,
    on_progress: Callable[[float], None] | None = None,
) -> ComponentResult:
    """Align images that pairs connect."""
    clock = [time.perf_counter()]
    root = strongest_view(len(views), pairs)
    start = initial_poses(len(views), pairs, root)
    clock.append(time.perf_counter())
    coarse = refine_on_points(start, pairs, root)
    clock.append(time.perf_counter())
    priors = priors or ViewPriors.none(len(views))
    problem = build_problem(views, pairs)
    depth = float(np.median(problem.canonical_depth))
    frame = fit_given_frame(coarse.poses, depth, priors, metric=metric, seed=seed)
    placed = frame if isinstance(frame, GivenFrame) else None
    scaled = placed is not None and placed.scaled
    known = KnownCameras(priors, scaled)
    options = ReprojectionOptions(max_steps=pixel_steps, shared_focal=shared_focal, known=known)
    first = first_state(problem, coarse.poses, options, placed if scaled else None)
    fine = refine_on_pixels(problem, first, root, options, on_progress)
    clock.append(time.perf_counter())
    fields = correction_fields(problem, fine)
    sizes = measured_sizes(fields, known)
    excess = 0.0 if scaled else _excess(fields, sizes)
    cam2world = _poses(fine, excess)
    depths = [spread_to_pixels(view, field - excess) for view, field in zip(views, fields, strict=True)]
    if placed is not None and not scaled:
        cam2world = _move_to_pose(cam2world, priors)
    clock.append(time.perf_counter())
    seconds = dict(zip(("initialise", "points", "pixels", "depth"), np.diff(clock).tolist(), strict=True))
    return ComponentResult(
        cam2world,
        np.exp(fine.state.log_focal),
        np.array([view.principal_point for view in views]) + fine.state.principal_shift,
        depths,
        _count_inliers(problem, fine, pairs),
        {
            "seconds": seconds,
            "point_costs": coarse.costs,
            "pixel_costs": fine.costs,
            "pixel_median_errors": fine.median_errors,
            "pixel_sigma": fine.sigma.tolist(),
        },
        in_given_frame=placed is not None,
        in_given_unit=scaled or bool(sizes),
        contradictions=find_contradictions(problem, fine, options, frame, sizes, excess),
    )


def _excess(fields: list[Floats], sizes: dict[int, float]) -> float:
    """What makes the mean over the images' median corrections 0; where depths were measured, those images alone say it."""
    return float(np.median(list(sizes.values())) if sizes else np.mean([np.median(field) for field in fields]))


def _poses(fine: ReprojectionResult, excess: float) -> Floats:  # (N, 4, 4)
    cam2world = np.tile(np.eye(4), (len(fine.state.log_focal), 1, 1))
    cam2world[:, :3, :3] = fine.state.rotation
    cam2world[:, :3, 3] = fine.state.centre * np.exp(-excess)
    return cam2world


def _move_to_pose(cam2world: Floats, priors: ViewPriors) -> Floats:  # (N, 4, 4)
    """Move rigidly so that the first known pose holds exactly; the priors say no size, so that there is no more to fit."""
    k = int(np.flatnonzero(priors.posed)[0])
    moved: Floats = priors.pose[k] @ np.linalg.inv(cam2world[k]) @ cam2world
    return moved


def _count_inliers(problem: ReprojectionProblem, fine: ReprojectionResult, pairs: Sequence[PairGeometry]) -> list[int]:
    bound = max(INLIER_SIGMAS * float(np.median(fine.sigma)), LEAST_INLIER_ERROR)
    first = np.concatenate([[0], np.cumsum([len(pair.points) for pair in pairs])]).astype(np.int64)
    ways = np.bincount(problem.undirected, minlength=first[-1])
    good_ways = np.bincount(problem.undirected, fine.squared_error < bound**2, first[-1])
    agrees = (ways > 0) & (good_ways == ways)
    return [int(agrees[a:b].sum()) for a, b in pairwise(first)]
