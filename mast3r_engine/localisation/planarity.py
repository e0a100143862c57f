"""Planar scenes: a homography decomposes into two motions, and the metric depths must tell them apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.evaluation.trajectory import rotation_angle
from mast3r_engine.localisation.agreement import judge_pose
from mast3r_engine.localisation.candidates import metric_translation
from mast3r_engine.localisation.minimal_solvers import solve_homography_poses
from mast3r_engine.localisation.observation import PairObservation
from mast3r_engine.localisation.trust import Refusal

Floats = NDArray[np.float64]

PLANAR = 0.9  # fraction of the inliers that one homography explains
AS_GOOD = 0.85  # of the chosen pose's score
DIFFERENT_ROTATION, DIFFERENT_DIRECTION = 2.0, 10.0  # degrees


def refuse_plane(
    pair: PairObservation,  # inliers
    pose: Floats,  # (4, 4) query2reference, refined
    inlier_pixels: float,
    seed: int,
) -> Refusal | None:
    """One plane, seen so that another pose explains pixels and depths nearly as well."""
    motions, on_plane = solve_homography_poses(pair, inlier_pixels, seed)
    if on_plane.mean() < PLANAR:
        return None
    own = judge_pose(pair, pose, inlier_pixels).score
    for motion in motions:
        other = metric_translation(pair, motion, on_plane)
        if other is not None and _differ(other, pose) and judge_pose(pair, other, inlier_pixels).score > AS_GOOD * own:
            return (
                "planar_degeneracy",
                f"{on_plane.mean():.0%} of the points lie on one plane and two poses explain them; show something in front of it",
            )
    return None


def _differ(a: Floats, b: Floats) -> bool:
    if float(rotation_angle(a[:3, :3], b[:3, :3])) > DIFFERENT_ROTATION:
        return True
    lengths = np.linalg.norm(a[:3, 3]), np.linalg.norm(b[:3, 3])
    cosine = a[:3, 3] @ b[:3, 3] / max(float(lengths[0] * lengths[1]), 1e-12)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))) > DIFFERENT_DIRECTION
