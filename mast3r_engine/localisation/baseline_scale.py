"""Lengths for a network that is not metric: the baselines between references with known poses.

Each reference knows the direction to the query and no distance; the rays of two or more that are not parallel meet in the query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROUNDS = 4  # the rays' weights depend on the distances they give
MAX_LOG_SIGMA = 0.2  # of a distance; above it the rays are too nearly parallel to say anything


@dataclass(frozen=True)
class ScaledPose:
    """A query's pose against one reference, in the unit of the references' poses."""

    query2reference: Floats  # (4, 4)
    covariance: Floats  # (6, 6)


def scale_from_baselines(
    reference_poses: Sequence[Floats],  # (4, 4) each, cam2world
    query2references: Sequence[Floats],  # (4, 4) each, every translation in a unit of its own
    covariances: Sequence[Floats],  # (6, 6) each, in that unit
) -> list[ScaledPose] | None:
    """Intersect the rays; None for fewer than two, rays that are too nearly parallel, or a query behind a ray's start."""
    steps = [pose[:3, 3] for pose in query2references]
    if len(steps) < 2 or min(float(np.linalg.norm(t)) for t in steps) < 1e-12:
        return None
    origins = np.stack([pose[:3, 3] for pose in reference_poses])
    rays = np.stack([pose[:3, :3] @ t / np.linalg.norm(t) for pose, t in zip(reference_poses, steps, strict=True)])
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]  # (N, 3, 3)
    angular = np.array([_angular_variance(t, c) for t, c in zip(steps, covariances, strict=True)])
    distance = np.ones(len(rays))
    for _ in range(ROUNDS):
        weighted = across / (angular * distance**2)[:, None, None]
        normal = weighted.sum(axis=0)
        if np.linalg.cond(normal) > 1e10:
            return None
        centre = np.linalg.solve(normal, (weighted @ origins[:, :, None]).sum(axis=0)[:, 0])
        distance = ((centre - origins) * rays).sum(axis=1)
        if distance.min() <= 0:
            return None
    log_sigma = np.sqrt(np.einsum("ni,ij,nj->n", rays, np.linalg.inv(normal), rays)) / distance
    if log_sigma.max() > MAX_LOG_SIGMA:
        return None
    return [
        _scaled(pose, covariance, float(d / np.linalg.norm(pose[:3, 3])), float(sigma))
        for pose, covariance, d, sigma in zip(query2references, covariances, distance, log_sigma, strict=True)
    ]


def _angular_variance(step: Floats, covariance: Floats) -> float:
    """Mean variance of the direction to the query, about both axes across it."""
    x, y, z = step
    from_left = np.concatenate([np.eye(3), [[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]]], axis=1)
    position = from_left @ covariance @ from_left.T
    length = float(np.linalg.norm(step))
    along = float(step @ position @ step) / length**2
    return max((float(np.trace(position)) - along) / 2, 1e-18) / length**2


def _scaled(pose: Floats, covariance: Floats, scale: float, log_sigma: float) -> ScaledPose:
    scaled = pose.copy()
    scaled[:3, 3] *= scale
    resize = np.diag([scale] * 3 + [1.0] * 3)
    widened = resize @ covariance @ resize
    widened[:3, :3] += log_sigma**2 * np.outer(scaled[:3, 3], scaled[:3, 3])
    return ScaledPose(scaled, widened)
