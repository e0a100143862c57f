"""Non-linear refinement of the pose: Levenberg-Marquardt, alternating with estimation of the noise (expectation-maximisation)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.localisation.observation import PairObservation
from mast3r_engine.localisation.pose_model import (
    Directions,
    Noise,
    PoseModel,
    PoseState,
    build_model,
    robust_weight,
    whitened_square,
)
from mast3r_engine.localisation.reprojection import SHARED

Floats = NDArray[np.float64]

ROUNDS = 6  # of noise estimation
STEPS = 4  # Levenberg-Marquardt steps per round
ENOUGH = 1e-3  # fall of the negative log posterior at which a round ends: a shift of 0.05 standard deviations
SETTLED = 0.02  # relative change of the noise at which the rounds end

START = Noise(pixel=1.0, depth=0.005, field=0.03, scale=0.03, log_focals=(0.0, 0.0))
FIELD_PRIOR = (0.02, 8.0)  # expected smooth depth error, and how many observations that expectation counts as
SCALE_PRIOR = 4.0  # observations which "the scale errs like the field" counts as
PIXEL_FLOOR = 0.2  # pixels; matches are never better than that, whatever a smooth scene makes them look like
FIELD_FLOOR = 1e-4


@dataclass(frozen=True)
class Refined:
    """The most probable unknowns and the noise that goes with them."""

    model: PoseModel
    state: PoseState
    directions: Directions  # residuals at the state
    noise: Noise

    @property
    def log_scale_gap(self) -> float:
        """Disagreement of the two decoder passes about the scene's size (log ratio)."""
        depths = (self.state.depth_reference, self.state.depth_query)
        mean = [
            float((basis @ depth).mean())
            for basis, depth in zip((self.model.basis_reference, self.model.basis_query), depths, strict=True)
        ]
        return mean[0] - mean[1]


def refine_pose(
    pair: PairObservation,  # inlier matches, few gross errors left
    pose: Floats,  # (4, 4) query2reference
    log_focals: tuple[float, float],  # standard deviations, 0 where the camera is known
) -> Refined:
    """Refine a pose over both reprojection directions with the metric depths as prior."""
    model = build_model(pair)
    state, noise = model.start(pose), replace(START, log_focals=log_focals)
    directions = model.directions(state)
    noise = replace(noise, pixel=starting_pixel_noise(directions, noise))
    for _ in range(ROUNDS):
        before = noise
        state, directions = _descend(model, state, directions, noise)
        noise = estimate_noise(model, state, directions, noise)
        if max(abs(np.log(noise.pixel / before.pixel)), abs(np.log(noise.field / before.field))) < SETTLED:
            break
    state, directions = _descend(model, state, directions, noise)
    return Refined(model, state, directions, noise)


def starting_pixel_noise(directions: Directions, noise: Noise) -> float:
    """Pixel noise from the residuals before anything was refined, gross errors among them."""
    squared = np.concatenate([whitened_square(direction, noise) for direction in directions])
    squared = squared[np.isfinite(squared)]
    return float(np.clip(np.sqrt(np.median(squared) / 2), 0.5, 8.0)) if len(squared) else 1.0


def _descend(model: PoseModel, state: PoseState, directions: Directions, noise: Noise) -> tuple[PoseState, Directions]:
    damping = 1e-4
    cost = model.cost(state, directions, noise)
    for _ in range(STEPS):
        H, g = model.normal_equations(state, directions, noise)
        for _ in range(6):
            step: Floats = -np.linalg.solve(H + damping * np.diag(np.diag(H)), g).astype(np.float64)
            candidate = state.moved(step)
            candidate_directions = model.directions(candidate)
            candidate_cost = model.cost(candidate, candidate_directions, noise)
            if candidate_cost <= cost:
                break
            damping = max(damping, 1e-6) * 10
        else:
            break
        fall, cost = cost - candidate_cost, candidate_cost
        state, directions = candidate, candidate_directions
        damping /= 10
        if fall <= ENOUGH:
            break
    return state, directions


def estimate_noise(model: PoseModel, state: PoseState, directions: Directions, noise: Noise) -> Noise:
    """Maximum of the evidence (MacKay's fixed point) for pixel, field and scale noise, with weak priors on the latter two."""
    posterior: Floats = np.linalg.inv(model.normal_equations(state, directions, noise)[0]).astype(np.float64)[SHARED:, SHARED:]
    split = len(state.depth_reference)
    coefficients = np.concatenate([state.depth_reference, state.depth_query])
    squares, spread = coefficients**2, np.diag(posterior)
    is_scale = np.zeros(len(squares), bool)
    is_scale[[0, split]] = True
    bumps = [
        _smooth_variance(model.basis_reference[:, 1:], coefficients[1:split], posterior[1:split, 1:split]),
        _smooth_variance(model.basis_query[:, 1:], coefficients[split + 1 :], posterior[split + 1 :, split + 1 :]),
    ]
    return replace(
        noise,
        pixel=_pixel_noise(directions, noise),
        field=_amplitude(squares[~is_scale], spread[~is_scale], noise.field, *FIELD_PRIOR),
        scale=_amplitude(squares[is_scale], spread[is_scale], noise.scale, float(np.sqrt(np.mean(bumps))), SCALE_PRIOR),
    )


def _smooth_variance(basis: Floats, coefficients: Floats, posterior: Floats) -> float:
    """Expected variance of the smooth depth error over the matches, its mean left out."""
    centred = basis - basis.mean(axis=0)
    gram = centred.T @ centred / max(len(basis), 1)
    return float(coefficients @ gram @ coefficients + (gram * posterior).sum())


def _amplitude(squares: Floats, spread: Floats, present: float, expected: float, count: float) -> float:
    determined = float(np.clip(1 - spread / present**2, 0, 1).sum())  # coefficients that the data, not the prior, decide
    return max(float(np.sqrt((count * expected**2 + squares.sum()) / (count + determined))), FIELD_FLOOR)


def _pixel_noise(directions: Directions, noise: Noise) -> float:
    squared = np.concatenate([whitened_square(direction, noise) for direction in directions])
    squared = squared[np.isfinite(squared)]
    if len(squared) == 0:
        return noise.pixel
    ratio = float((robust_weight(squared) * squared).mean() / 2)
    return float(np.clip(noise.pixel * np.sqrt(ratio), PIXEL_FLOOR, 10.0))
