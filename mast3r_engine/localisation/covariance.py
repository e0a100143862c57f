"""Covariance of the refined pose: a sandwich over patches of the image, so that correlated matches are not counted as many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.localisation.pose_model import TAIL, robust_weight, whitened_square
from mast3r_engine.localisation.refine import Refined

Floats = NDArray[np.float64]

PATCHES = 16  # along the longer side of the reference
WHITE_PATCHES, MODEL_PATCHES = 20.0, 2.0  # weights of single matches' scatter, and of the model's, against that of the patches
LEVERAGE = 0.7  # between none (0) and full (1); what the calibration study finds right


def pose_covariance(refined: Refined) -> Floats:  # (6, 6)
    """Covariance of the left perturbation of query2reference: translation, then rotation vector, in the reference's frame.

    H^-1 (S + P) H^-1: H the Hessian of the robust cost (true second derivative of the loss), P the prior's precision on depth and
    focal errors, S the scatter of the matches' scores, summed per patch before squaring (cluster-robust, Liang and Zeger 1986).
    """
    model, state, noise = refined.model, refined.state, refined.noise
    prior = np.diag(model.prior_precision(noise))
    data = model.normal_equations(state, refined.directions, noise)[0] - prior
    scores = model.scores(refined.directions, noise)
    clustered = _sum_by_patch(scores, _patches(refined))
    own = scores.T @ scores
    count = float(len(clustered))
    # Where the residuals vanish (the same image twice) the model's own scores, whose covariance is its Hessian, keep it regular.
    scatter = count * clustered.T @ clustered + WHITE_PATCHES * own + MODEL_PATCHES * data
    scatter /= count + WHITE_PATCHES + MODEL_PATCHES
    inverse = np.linalg.inv(_curvature(refined) * data + prior)
    fitted = float(np.trace(inverse @ data))  # unknowns that the data determine
    scatter *= (count / max(count - fitted, 0.3 * count)) ** LEVERAGE  # fitting shrinks the scores
    pose: Floats = (inverse @ (scatter + prior) @ inverse)[:6, :6]
    return 0.5 * (pose + pose.T)


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


def _sum_by_patch(
    scores: Floats,  # (M, u)
    patch: NDArray[np.int64],  # (M,)
) -> Floats:  # (patches, u)
    summed = np.zeros((int(patch.max(initial=-1)) + 1, scores.shape[1]))
    np.add.at(summed, patch, scores)
    return summed
