"""Reprojection in both directions with metric depths, and its analytic derivatives.

One direction takes a match's pixel in the SOURCE view, lifts it with the source's depth, and projects it into the TARGET view.
Unknowns of a pair: the pose query -> reference (left perturbation: translation, rotation vector), the log focal length of each
camera, and the log-depth error e at each pixel: true depth = depth exp(-e).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.similarity import skew
from mast3r_engine.localisation.observation import PairObservation, back_project, project
from mast3r_engine.localisation.rigid_motion import invert

Floats = NDArray[np.float64]

SHARED = 8  # pose (6), log focal of the reference, log focal of the query


@dataclass(frozen=True)
class Direction:
    """Residuals of one direction, pixels of the target view, and their derivatives."""

    residual: Floats  # (M, 2) projected minus matched
    front: NDArray[np.bool_]  # (M,) in front of the target camera
    by_shared: Floats  # (M, 2, SHARED)
    by_depth_error: Floats  # (M, 2) derivative by e

    def take(self, keep: NDArray[np.bool_]) -> Direction:  # (M,)
        """The same direction with a part of its matches."""
        return Direction(self.residual[keep], self.front[keep], self.by_shared[keep], self.by_depth_error[keep])


def scale_focal(
    K: Floats,  # (3, 3)
    log_scale: float,
) -> Floats:  # (3, 3)
    """Multiply both focal lengths by exp(log_scale)."""
    scaled = K.copy()
    scaled[0, 0] *= np.exp(log_scale)
    scaled[1, 1] *= np.exp(log_scale)
    return scaled


def reference_to_query(
    pair: PairObservation,
    pose: Floats,  # (4, 4) query2reference
    log_focals: Floats,  # (2,) reference, query: corrections to the pair's cameras
    depth_error: Floats,  # (M,)
) -> Direction:
    """Reference pixels, lifted with the reference's depth, seen by the query."""
    K_source, K_target = scale_focal(pair.K_reference, log_focals[0]), scale_focal(pair.K_query, log_focals[1])
    points = back_project(pair.xy_reference, pair.depth_reference * np.exp(-depth_error), K_source)
    to_query = invert(pose)
    R = to_query[:3, :3]
    seen = points @ R.T + to_query[:3, 3]
    xy, front = project(seen, K_target)
    by_point = _project_derivative(seen, K_target, front)  # (M, 2, 3)
    by_source = by_point @ R
    by_pose = np.concatenate([-by_source, by_source @ skew(points)], axis=2)
    return Direction(
        xy - pair.xy_query,
        front,
        np.concatenate([by_pose, _by_source_focal(by_source, points), (xy - K_target[:2, 2])[:, :, None]], axis=2),
        -(by_source @ points[:, :, None])[:, :, 0],
    )


def query_to_reference(
    pair: PairObservation,
    pose: Floats,  # (4, 4) query2reference
    log_focals: Floats,  # (2,) reference, query
    depth_error: Floats,  # (M,)
) -> Direction:
    """Query pixels, lifted with the query's depth, seen by the reference."""
    K_source, K_target = scale_focal(pair.K_query, log_focals[1]), scale_focal(pair.K_reference, log_focals[0])
    points = back_project(pair.xy_query, pair.depth_query * np.exp(-depth_error), K_source)
    R = pose[:3, :3]
    seen = points @ R.T + pose[:3, 3]
    xy, front = project(seen, K_target)
    by_point = _project_derivative(seen, K_target, front)
    by_source = by_point @ R
    by_pose = np.concatenate([by_point, -(by_point @ skew(seen))], axis=2)
    return Direction(
        xy - pair.xy_reference,
        front,
        np.concatenate([by_pose, (xy - K_target[:2, 2])[:, :, None], _by_source_focal(by_source, points)], axis=2),
        -(by_source @ points[:, :, None])[:, :, 0],
    )


def _project_derivative(
    points: Floats,  # (M, 3)
    K: Floats,
    front: NDArray[np.bool_],  # (M,)
) -> Floats:  # (M, 2, 3)
    z = np.where(front, points[:, 2], 1.0)
    derivative = np.zeros((len(points), 2, 3))
    derivative[:, 0, 0] = K[0, 0] / z
    derivative[:, 1, 1] = K[1, 1] / z
    derivative[:, 0, 2] = -K[0, 0] * points[:, 0] / z**2
    derivative[:, 1, 2] = -K[1, 1] * points[:, 1] / z**2
    return derivative


def _by_source_focal(
    by_source: Floats,  # (M, 2, 3)
    points: Floats,  # (M, 3)
) -> Floats:  # (M, 2, 1)
    lateral = points * np.array([1.0, 1.0, 0.0])  # a longer focal length pulls the ray to the axis
    derivative: Floats = -(by_source @ lateral[:, :, None])
    return derivative
