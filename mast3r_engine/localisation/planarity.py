"""Planar scenes: a homography decomposes into two motions, and the metric depths must tell them apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.evaluation.trajectory import rotation_angle
from mast3r_engine.localisation.candidates import metric_translation
from mast3r_engine.localisation.minimal_solvers import solve_homography_poses
from mast3r_engine.localisation.refine import Refined, refine_pose
from mast3r_engine.localisation.trust import Refusal

Floats = NDArray[np.float64]

PLANAR = 0.9  # fraction of the matches that one homography explains
LIKELIHOOD = 10.0  # log of the ratio of posteriors beyond which the worse pose is ruled out
SAME_ROTATION = 1.0  # degrees; a second pose that refines to less than that is the first one again


def refuse_plane(
    refined: Refined,
    inlier_pixels: float,
    seed: int,
) -> Refusal | None:
    """One plane, seen so that a second pose explains pixels and depths nearly as well, after refinement of its own."""
    pair = refined.model.pair
    motions, on_plane = solve_homography_poses(pair, inlier_pixels, seed)
    if on_plane.mean() < PLANAR:
        return None
    own = refined.model.cost(refined.state, refined.directions, refined.noise)
    # Depths err; a pose that asks for errors not much larger than those the first one needs is not ruled out by them.
    limit = own + LIKELIHOOD + refined.model.prior_cost(refined.state, refined.noise)
    for motion in motions:
        start = metric_translation(pair, motion, on_plane)
        if start is None or _same(start, refined.state.pose):
            continue
        other = refine_pose(pair, start, refined.noise.log_focals)
        cost = other.model.cost(other.state, other.directions, refined.noise)
        if cost < limit and not _same(other.state.pose, refined.state.pose):
            return (
                "planar_degeneracy",
                f"{on_plane.mean():.0%} of the matches lie on one plane and two poses fit; show something in front of it",
            )
    return None


def _same(a: Floats, b: Floats) -> bool:
    return float(rotation_angle(a[:3, :3], b[:3, :3])) < SAME_ROTATION
