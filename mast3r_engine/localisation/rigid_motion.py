"""Rigid motions: inverse, exponential of a left perturbation, and its first-order adjoint."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.similarity import rotation_exp, rotation_log, skew

Floats = NDArray[np.float64]


def rigid(
    R: Floats,  # (3, 3)
    t: Floats,  # (3,)
) -> Floats:  # (4, 4)
    """Put rotation and translation into one matrix."""
    motion = np.eye(4)
    motion[:3, :3] = R
    motion[:3, 3] = np.ravel(t)
    return motion


def invert(motion: Floats) -> Floats:  # (4, 4)
    """Inverse of a rigid motion, exactly a rotation again."""
    return rigid(motion[:3, :3].T, -motion[:3, :3].T @ motion[:3, 3])


def perturb_left(
    motion: Floats,  # (4, 4)
    step: Floats,  # (6,) translation, then rotation vector
) -> Floats:  # (4, 4)
    """Perturb from the left: E(step) motion, where E has the rotation vector's rotation and the given translation."""
    return rigid(rotation_exp(step[3:]), step[:3]) @ motion


def left_difference(
    motion: Floats,  # (4, 4)
    origin: Floats,  # (4, 4)
) -> Floats:  # (6,)
    """The step for which `perturb_left(origin, step)` is `motion`."""
    error = motion @ invert(origin)
    return np.concatenate([error[:3, 3], rotation_log(error[:3, :3])])


def adjoint(motion: Floats) -> Floats:  # (6, 6)
    """Carries left perturbations through a motion: motion E(x) = E(adjoint x) motion to first order; translation first."""
    R = motion[:3, :3]
    matrix = np.zeros((6, 6))
    matrix[:3, :3] = matrix[3:, 3:] = R
    matrix[:3, 3:] = skew(motion[:3, 3]) @ R
    return matrix
