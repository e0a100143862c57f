"""The 2D stage: cameras and anchor depths from reprojection errors, by Levenberg-Marquardt with the depths eliminated.

Every residual touches one depth, so the depths' block of the Hessian is diagonal and their Schur complement is cheap. The noise
level of each class of match confidence is estimated anew in every step; it starts above what the initial cameras leave and
shrinks with the errors, which makes the robust (Cauchy) kernel graduated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.camera_state import CameraState, ReprojectionOptions
from mast3r_engine.alignment.order_statistics import median
from mast3r_engine.alignment.reduced_system import FOCAL, PRINCIPAL, SIZE, depth_weights, reduce_depths
from mast3r_engine.alignment.reprojection_problem import CONFIDENCE_CLASSES, ReprojectionProblem
from mast3r_engine.alignment.similarity import rotation_exp
from mast3r_kernels.alignment_normal_equations import PairBlocks, RelativeCameras, alignment_normal_equations

Floats = NDArray[np.float64]

KERNEL_WIDTH = 2.4  # sigmas; 95 % efficient on Gaussian errors
RAYLEIGH_MEDIAN = 1.1774  # median of a two-dimensional error over its sigma
SMALLEST_SIGMA = 1e-4  # pixels; below it errors are rounding
FIRST_SIGMA = 0.01  # of the focal length; more where the first cameras are worse
CONVERGED = 3e-5  # largest step of rotation, of position over the scene's depth, of log focal
FIRST_DAMPING = 1e-4


@dataclass(frozen=True)
class ReprojectionResult:
    """The refined state; errors per directed match; noise level of each confidence class; one cost per accepted step."""

    state: CameraState
    squared_error: Floats  # (M,) pixels squared
    sigma: Floats  # (classes,) pixels
    curvature: Floats  # (A,) of the depths: how well the matches measure each, 1 / variance of the logarithm
    costs: list[float]  # each at the noise level of its step, which falls from step to step
    median_errors: list[float]  # pixels, before the first step and after each one
    root: int  # whose pose the gauge holds


def refine_on_pixels(
    problem: ReprojectionProblem,
    state: CameraState,
    root: int,
    options: ReprojectionOptions,
    on_step: Callable[[float], None] | None = None,
) -> ReprojectionResult:
    """Refine until the step is small; the root's pose and the mean log-size stay (the gauge)."""
    scene_depth = float(np.median(np.exp(state.log_depth)))
    sigma = np.full(CONFIDENCE_CLASSES, FIRST_SIGMA * float(np.median(problem.focal)))
    blocks = evaluate(problem, state, sigma, options)
    noise, overall = _noise_levels(problem, blocks.squared_error)
    if (noise > sigma).any():  # other weights change no error
        sigma = noise
        blocks = evaluate(problem, state, sigma, options)
    damping, costs, medians = FIRST_DAMPING, [], [overall]
    for count in range(options.max_steps):
        cost = _cost(problem, blocks.squared_error, sigma, state, options)
        costs.append(cost)
        system = reduce_depths(problem, state, blocks, options)
        accepted = False
        for _ in range(6):
            step, depth_step = system.solve(root, damping, options)
            trial = _move(state, step, depth_step)
            trial_sigma = np.minimum(sigma, noise)
            trial_blocks = evaluate(problem, trial, trial_sigma, options)
            before = _cost(problem, blocks.squared_error, trial_sigma, state, options)
            if _cost(problem, trial_blocks.squared_error, trial_sigma, trial, options) <= before * (1 + 1e-12):
                accepted = True
                break
            damping *= 10
        if not accepted:
            break
        state, blocks, sigma, damping = trial, trial_blocks, trial_sigma, damping / 10
        noise, overall = _noise_levels(problem, blocks.squared_error)
        medians.append(overall)
        if on_step is not None:
            on_step((count + 1) / options.max_steps)
        if _size(step, scene_depth) < CONVERGED:
            break
    curvature = np.bincount(problem.group_anchor, blocks.groups[:, -2], len(state.log_depth)).astype(np.float64)
    return ReprojectionResult(state, blocks.squared_error, sigma, curvature, costs, medians, root)


def relative_cameras(problem: ReprojectionProblem, state: CameraState) -> RelativeCameras:
    """Poses of the sources in the targets' frames, and what else the residuals need."""
    to_target = np.swapaxes(state.rotation[problem.target], 1, 2)
    baseline = state.centre[problem.source] - state.centre[problem.target]
    focal = np.exp(state.log_focal)
    return RelativeCameras(
        rotation=to_target @ state.rotation[problem.source],
        translation=np.einsum("pab,pb->pa", to_target, baseline),
        source_focal=focal[problem.source],
        target_focal=focal[problem.target],
        source_shift=state.principal_shift[problem.source],
        target_shift=state.principal_shift[problem.target],
        depth=np.exp(state.log_depth)[problem.group_anchor],
    )


def evaluate(problem: ReprojectionProblem, state: CameraState, sigma: Floats, options: ReprojectionOptions) -> PairBlocks:
    """Residuals and normal equations of all pairs at noise levels `sigma` (classes,), pixels."""
    weight = (1.0 / sigma**2)[problem.confidence_class]
    principal = options.move_principal_points
    cameras = relative_cameras(problem, state)
    return alignment_normal_equations(problem.matches, cameras, weight, KERNEL_WIDTH, principal_points=principal)


def _noise_levels(problem: ReprojectionProblem, squared_error: Floats) -> tuple[Floats, float]:
    """Noise of each confidence class (classes,), and the median error of all; pixels."""
    overall = median(squared_error)
    levels = np.array([median(squared_error[k]) if len(k) else overall for k in problem.class_members])
    levels = np.clip(levels, overall / 9, overall * 9)
    noise: Floats = np.maximum(np.sqrt(levels) / RAYLEIGH_MEDIAN, SMALLEST_SIGMA)
    return noise, float(np.sqrt(overall))


def _cost(
    problem: ReprojectionProblem, squared_error: Floats, sigma: Floats, state: CameraState, options: ReprojectionOptions
) -> float:
    weight = (1.0 / (sigma * KERNEL_WIDTH) ** 2)[problem.confidence_class]
    data = 0.5 * KERNEL_WIDTH**2 * float(np.log1p(squared_error * weight).sum())
    size = np.repeat(state.log_size, np.diff(problem.anchor_start))
    depth = (state.log_depth - np.log(problem.canonical_depth) - size) * np.sqrt(depth_weights(problem, options))
    focal = (state.log_focal - np.log(problem.focal)) / options.focal_sigma
    sizes = (state.log_size - state.first_log_size) / options.size_sigma
    principal_sigmas = options.principal_sigmas(len(state.log_size))
    principal = (state.principal_shift / np.where(principal_sigmas > 0, principal_sigmas, 1.0)[:, None]).ravel()
    known = 0.0 if options.known is None else options.known.cost(state)
    return data + known + 0.5 * float(depth @ depth + focal @ focal + sizes @ sizes + principal @ principal)


def _move(state: CameraState, step: Floats, depth_step: Floats) -> CameraState:
    """Apply steps (N, 10) in the cameras' own frames, and (A,) of the log-depths."""
    step = step.copy()
    step[:, FOCAL] = np.clip(step[:, FOCAL], -0.2, 0.2)
    return replace(
        state,
        rotation=state.rotation @ rotation_exp(step[:, :3]),
        centre=state.centre + np.einsum("nab,nb->na", state.rotation, step[:, 3:6]),
        log_focal=state.log_focal + step[:, FOCAL],
        principal_shift=state.principal_shift + step[:, PRINCIPAL],
        log_size=state.log_size + step[:, SIZE],
        log_depth=state.log_depth + np.clip(depth_step, -0.5, 0.5),
    )


def _size(step: Floats, scene_depth: float) -> float:
    return float(max(np.abs(step[:, :3]).max(), np.abs(step[:, 3:6]).max() / scene_depth, np.abs(step[:, FOCAL]).max()))
