"""Several references with known poses: the largest group that agrees, and its information-weighted mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.localisation.rigid_motion import adjoint, left_difference, perturb_left

Floats = NDArray[np.float64]

CHI2_999 = 22.46  # six degrees of freedom
ROUNDS = 5
SHARED_ERROR = 0.5  # part of the variance that all references have in common: they see the same query depth and pixels


@dataclass(frozen=True)
class FusedPose:
    """A query's pose in the world."""

    cam2world: Floats  # (4, 4)
    covariance: Floats  # (6, 6) left perturbation in the world's frame
    members: tuple[int, ...]  # positions in the lists that were given


def to_world(
    reference_pose: Floats,  # (4, 4) cam2world of the reference
    query2reference: Floats,  # (4, 4)
    covariance: Floats,  # (6, 6)
) -> tuple[Floats, Floats]:
    """Carry pose and covariance into the world's frame."""
    carry = adjoint(reference_pose)
    return reference_pose @ query2reference, carry @ covariance @ carry.T


def fuse_poses(
    poses: Sequence[Floats],  # (4, 4) each, the query's cam2world
    covariances: Sequence[Floats],  # (6, 6) each, left perturbations in the world's frame
) -> FusedPose:
    """Fuse one pose or more; those that contradict the largest group that agrees are left out."""
    members = _largest_group(poses, covariances)
    fused = poses[members[0]]
    information: list[Floats] = [np.linalg.inv(covariances[k]).astype(np.float64) for k in members]
    for _ in range(ROUNDS):
        pull = sum((W @ left_difference(poses[k], fused) for k, W in zip(members, information, strict=True)), np.zeros(6))
        step = np.linalg.solve(np.sum(information, axis=0), pull)
        fused = perturb_left(fused, step)
        if np.abs(step).max() < 1e-12:
            break
    independent = np.linalg.inv(np.sum(information, axis=0))
    n = len(members)
    # With a shared part rho of the variance the mean of n falls to (1 + (n - 1) rho) / n of one, not to 1 / n.
    covariance = independent * (1 + (n - 1) * SHARED_ERROR) * _scatter(poses, information, members, fused)
    return FusedPose(fused, 0.5 * (covariance + covariance.T), members)


def _largest_group(poses: Sequence[Floats], covariances: Sequence[Floats]) -> tuple[int, ...]:
    groups = []
    for k, (pose, covariance) in enumerate(zip(poses, covariances, strict=True)):
        agree = [j for j in range(len(poses)) if j == k or _distance(poses[j], pose, covariances[j] + covariance) < CHI2_999]
        groups.append((len(agree), -float(np.trace(covariance)), tuple(agree)))
    return max(groups)[2]


def _distance(a: Floats, b: Floats, covariance: Floats) -> float:
    difference = left_difference(a, b)
    return float(difference @ np.linalg.solve(covariance, difference))


def _scatter(poses: Sequence[Floats], information: Sequence[Floats], members: tuple[int, ...], fused: Floats) -> float:
    """Chi square per degree of freedom, where it says that the covariances are too small (Birge's ratio)."""
    if len(members) < 2:
        return 1.0
    errors = [left_difference(poses[k], fused) for k in members]
    total = sum(float(e @ W @ e) for e, W in zip(errors, information, strict=True))
    return max(1.0, total / (6 * (len(members) - 1)))
