"""Covariance of the refined pose: a sandwich in which matches that err together are not counted as many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.localisation.pose_model import TAIL, robust_weight, whitened_square
from mast3r_engine.localisation.refine import Refined

Floats = NDArray[np.float64]

PATCHES = 6  # along the longer side of the reference
REGIONS = 3  # the same for errors that no residual shows
EPIPOLAR_UNKNOWNS = 5  # of the pose, that errors across the epipolar lines determine
# Delete-a-region jackknife over the present covariance where errors of different regions are independent (calibration study), by
# regions along the longer side of the reference.
JACKKNIFE = {2: 1.2, 3: 0.75}
FEW_PATCHES = 3.0  # design effect where there are too few patches to measure it
MODEL_SHARE = 0.02


def pose_covariance(refined: Refined) -> Floats:  # (6, 6)
    """Covariance of the left perturbation of query2reference: translation, then rotation vector, in the reference's frame.

    H^-1 (D S + P) H^-1: H the Hessian of the robust cost (true second derivative of the loss), P the prior's precision on depth
    and focal errors, S the scatter of the matches' scores, D the design effect of matches that err together (Kish, 1965). S and D
    are taken apart into errors along the line on which depth moves a pixel, and across it: the former are shared much more.

    Where whole regions of the image contradict each other by more than that (`jackknife_ratio`), all of it grows.
    """
    curvature, scatter = information(refined)
    inverse = np.linalg.inv(curvature)
    pose: Floats = (inverse @ scatter @ inverse)[:6, :6]
    return 0.5 * (pose + pose.T) * jackknife_ratio(refined, pose)


def jackknife_ratio(
    refined: Refined,
    covariance: Floats,  # (6, 6)
) -> float:
    """How much more the pose moves when a region is left out than the covariance lets expect; at least 1.

    The delete-a-group jackknife (Kott, 2001) to first order: a region's scores, and the Hessian without it.
    """
    ratios = [
        float(np.trace(np.linalg.solve(covariance, moved))) / 6 / expected
        for count, expected in JACKKNIFE.items()
        if (moved := _delete_regions(refined, _patches(refined, count))) is not None
    ]
    return max(1.0, float(np.mean(ratios))) if ratios else 1.0


def _delete_regions(refined: Refined, region: NDArray[np.int64]) -> Floats | None:  # (M,) -> (6, 6)
    count = int(region.max(initial=-1)) + 1
    if count < 3:
        return None
    model, state, noise = refined.model, refined.state, refined.noise
    H = model.normal_equations(state, refined.directions, noise)[0]
    prior = np.diag(model.prior_precision(noise))
    scores = model.scores(refined.directions, noise, (refined.directions[0].residual, refined.directions[1].residual))
    moved = np.zeros((count, 6))
    for k in range(count):
        inside = region == k
        part = model.take(inside)
        directions = refined.directions[0].take(inside), refined.directions[1].take(inside)
        without = H - (part.normal_equations(state, directions, noise)[0] - prior)
        moved[k] = np.linalg.solve(without, scores[inside].sum(axis=0))[:6]
    moved -= moved.mean(axis=0)
    spread: Floats = (count - 1) / count * moved.T @ moved
    return spread


def information(refined: Refined) -> tuple[Floats, Floats]:  # (u, u) both, over all unknowns
    """Hessian H and scatter D S + P of the gradient, the bread and the filling of the sandwich."""
    model, noise = refined.model, refined.noise
    prior = np.diag(model.prior_precision(noise))
    data = model.normal_equations(refined.state, refined.directions, noise)[0] - prior
    curvature = _curvature(refined) * data + prior
    fitted = float(np.trace(np.linalg.solve(curvature, data)))
    scatter = _own_scatter(refined, MODEL_SHARE * data) * _lost_by_fitting(len(model.pair), fitted)
    return curvature, scatter + _shared_scatter(refined) + prior


def _own_scatter(refined: Refined, least: Floats) -> Floats:  # (u, u)
    """Scatter of the matches' scores; `least` keeps it regular where the residuals vanish (the same image twice)."""
    scatter = least
    for axes in _axes(refined):
        forward, backward = (
            axis * (axis * direction.residual).sum(axis=1, keepdims=True)
            for axis, direction in zip(axes, refined.directions, strict=True)
        )
        scores = refined.model.scores(refined.directions, refined.noise, (forward, backward))
        scatter = scatter + _design_effect(refined, (forward, backward), axes) * scores.T @ scores
    return scatter


def _lost_by_fitting(matches: int, fitted: float) -> float:
    return matches / max(matches - fitted, 0.3 * matches)


def _design_effect(
    refined: Refined,
    errors: tuple[Floats, Floats],  # (M, 2) per direction
    axes: tuple[Floats, Floats],  # (M, 2) unit vectors on whose lines the errors lie
) -> float:
    """How many matches err as one: variance of the patches' summed errors over that of independent ones."""
    patch = _patches(refined, PATCHES)
    effects = []
    for direction, error, axis in zip(refined.directions, errors, axes, strict=True):
        weight = robust_weight(whitened_square(direction, refined.noise)) * direction.front
        signed = weight * (axis * error).sum(axis=1)
        summed = np.bincount(patch, weights=signed)
        independent = float((signed**2).sum())
        if independent <= 0 or len(summed) <= 2 * EPIPOLAR_UNKNOWNS:
            return FEW_PATCHES
        effects.append(float((summed**2).sum()) / independent * len(summed) / (len(summed) - EPIPOLAR_UNKNOWNS))
    return max(1.0, float(np.mean(effects)))


def _shared_scatter(refined: Refined) -> Floats:  # (u, u)
    """Scatter from errors that all matches of a region share, along and across; they leave too little trace in the residuals."""
    region = _patches(refined, REGIONS)
    summed = []
    for sigma, axes in zip(refined.model.pair.shared_error, _axes(refined), strict=True):
        scores = refined.model.scores(refined.directions, refined.noise, (sigma * axes[0], sigma * axes[1]))
        summed.append(_sum_by(region, scores))
    stacked = np.concatenate(summed)
    scatter: Floats = stacked.T @ stacked
    return scatter


def _sum_by(group: NDArray[np.int64], rows: Floats) -> Floats:  # (M,), (M, u) -> (groups, u)
    summed = np.zeros((int(group.max(initial=-1)) + 1, rows.shape[1]))
    np.add.at(summed, group, rows)
    return summed


def _axes(refined: Refined) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:  # (M, 2) each
    """Unit vectors along the line on which depth moves a pixel, and across it; each for both directions.

    Both directions turn round together: the same shift of a match has the same sign on both.
    """
    forward, backward = (_unit(direction.by_depth_error) for direction in refined.directions)
    return (forward, backward), (_turn(forward), _turn(backward))


def _unit(vectors: Floats) -> Floats:  # (M, 2)
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit


def _turn(vectors: Floats) -> Floats:  # (M, 2) by a quarter turn
    return np.stack([-vectors[:, 1], vectors[:, 0]], axis=1)


def _curvature(refined: Refined) -> float:
    """Mean second derivative of the loss over mean weight; Gauss-Newton alone takes them as equal."""
    squared = np.concatenate([whitened_square(d, refined.noise) for d in refined.directions])
    squared = squared[np.isfinite(squared)]
    if len(squared) == 0:
        return 1.0
    weight = robust_weight(squared)
    second = weight - weight * squared / (TAIL + squared)
    return float(np.clip(second.mean() / weight.mean(), 0.2, 1.0))


def _patches(refined: Refined, count: int) -> NDArray[np.int64]:  # (M,) patch numbers
    side = max(refined.model.pair.size_reference) / count
    cell = (refined.model.pair.xy_reference // side).astype(np.int64)
    number: NDArray[np.int64] = np.unique(cell[:, 1] * 10_000 + cell[:, 0], return_inverse=True)[1].ravel()
    return number
