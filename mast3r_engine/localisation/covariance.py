"""Covariance of the refined pose: a sandwich in which matches that err together are not counted as many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.localisation.pose_model import TAIL, robust_weight, whitened_square
from mast3r_engine.localisation.refine import Refined

Floats = NDArray[np.float64]

PATCHES = 8  # along the longer side of the reference
EPIPOLAR_UNKNOWNS = 5  # of the pose, that errors across the epipolar lines determine
FEW_PATCHES = 3.0  # design effect where there are too few patches to measure it
MODEL_SHARE = 0.02


def pose_covariance(refined: Refined) -> Floats:  # (6, 6)
    """Covariance of the left perturbation of query2reference: translation, then rotation vector, in the reference's frame.

    H^-1 (D S + P) H^-1: H the Hessian of the robust cost (true second derivative of the loss), P the prior's precision on depth
    and focal errors, S the scatter of the matches' scores, D the design effect of correlated matches (Kish, 1965).
    """
    model, state, noise = refined.model, refined.state, refined.noise
    prior = np.diag(model.prior_precision(noise))
    data = model.normal_equations(state, refined.directions, noise)[0] - prior
    scores = model.scores(refined.directions, noise)
    inverse = np.linalg.inv(_curvature(refined) * data + prior)
    fitted = float(np.trace(inverse @ data))  # unknowns that the data determine
    # Where the residuals vanish (the same image twice) the model's own score covariance, its Hessian, keeps the sum regular.
    scatter = scores.T @ scores + MODEL_SHARE * data
    scatter *= _design_effect(refined) * len(scores) / max(len(scores) - fitted, 0.3 * len(scores))
    pose: Floats = (inverse @ (scatter + prior) @ inverse)[:6, :6]
    return 0.5 * (pose + pose.T)


def _design_effect(refined: Refined) -> float:
    """How many matches err as one: variance of the patches' summed errors over that of independent ones.

    Looks across the direction in which depth moves the pixel: along it the fitted depth errors take up what neighbours share.
    """
    direction = refined.directions[0]
    along = direction.by_depth_error
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(np.linalg.norm(along, axis=1), 1e-12)[:, None]
    weight = robust_weight(whitened_square(direction, refined.noise)) * direction.front
    error = weight * (across * direction.residual).sum(axis=1)
    patch = _patches(refined)
    summed = np.bincount(patch, weights=error)
    independent = float((error**2).sum())
    if independent <= 0 or len(summed) <= 2 * EPIPOLAR_UNKNOWNS:
        return FEW_PATCHES
    return max(1.0, float((summed**2).sum()) / independent * len(summed) / (len(summed) - EPIPOLAR_UNKNOWNS))


def _curvature(refined: Refined) -> float:
    """Mean second derivative of the loss over mean weight; Gauss-Newton alone takes them as equal."""
    squared = np.concatenate([whitened_square(d, refined.noise) for d in refined.directions])
    squared = squared[np.isfinite(squared)]
    if len(squared) == 0:
        return 1.0
    weight = robust_weight(squared)
    second = weight - weight * squared / (TAIL + squared)
    return float(np.clip(second.mean() / weight.mean(), 0.2, 1.0))


def _patches(refined: Refined) -> NDArray[np.int64]:  # (M,) patch numbers
    side = max(refined.model.pair.size_reference) / PATCHES
    cell = (refined.model.pair.xy_reference // side).astype(np.int64)
    number: NDArray[np.int64] = np.unique(cell[:, 1] * 10_000 + cell[:, 0], return_inverse=True)[1].ravel()
    return number
