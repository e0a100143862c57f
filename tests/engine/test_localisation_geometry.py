"""Analytic derivatives, rigid motions and the depth field of localisation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mast3r_engine.evaluation.localisation_study import observe_directly, random_scene, relative_pose
from mast3r_engine.evaluation.oracle import OracleNoise
from mast3r_engine.localisation.depth_field import spline_basis
from mast3r_engine.localisation.pose_model import Noise, PoseModel, PoseState, build_model
from mast3r_engine.localisation.reprojection import Direction, query_to_reference, reference_to_query
from mast3r_engine.localisation.rigid_motion import adjoint, invert, left_difference, perturb_left

NOISE = Noise(pixel=0.8, depth=0.01, field=0.03, scale=0.02, log_focals=(0.01, 0.02))


@pytest.fixture(scope="module")
def model() -> PoseModel:
    pair = observe_directly(random_scene(3, 96, 128), OracleNoise(), 3, subsample=24)
    return build_model(pair)


@pytest.fixture(scope="module")
def state(model: PoseModel) -> PoseState:
    rng = np.random.default_rng(0)
    start = model.start(relative_pose(random_scene(3, 96, 128)))
    unknowns = 8 + len(start.depth_reference) + len(start.depth_query)
    return start.moved(0.01 * rng.standard_normal(unknowns))


@pytest.mark.parametrize("which", [0, 1])
def test_residuals_have_the_derivatives_they_say(model: PoseModel, state: PoseState, which: int) -> None:
    project = (reference_to_query, query_to_reference)[which]
    depth_error = 0.02 * np.random.default_rng(1).standard_normal(len(model.pair))

    def at(shared: np.ndarray, error: np.ndarray) -> Direction:
        return project(model.pair, perturb_left(state.pose, shared[:6]), state.log_focals + shared[6:], error)

    direction = at(np.zeros(8), depth_error)
    h = 1e-6
    for k in range(8):
        step = np.eye(8)[k] * h
        numeric = (at(step, depth_error).residual - at(-step, depth_error).residual) / (2 * h)
        np.testing.assert_allclose(direction.by_shared[:, :, k], numeric, rtol=1e-5, atol=1e-4)
    numeric = (at(np.zeros(8), depth_error + h).residual - at(np.zeros(8), depth_error - h).residual) / (2 * h)
    np.testing.assert_allclose(direction.by_depth_error, numeric, rtol=1e-5, atol=1e-4)


def test_the_gradient_is_that_of_the_cost(model: PoseModel, state: PoseState) -> None:
    """Without white depth noise, whose weights are held fixed within a step."""
    noise = Noise(pixel=0.8, depth=0.0, field=0.03, scale=0.02, log_focals=(0.01, 0.02))
    _, gradient = model.normal_equations(state, model.directions(state), noise)
    h = 1e-6
    for k in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 20, len(gradient) - 1]:
        step = np.eye(len(gradient))[k] * h
        costs = [model.cost(moved, model.directions(moved), noise) for moved in (state.moved(step), state.moved(-step))]
        assert gradient[k] == pytest.approx((costs[0] - costs[1]) / (2 * h), rel=1e-4, abs=1e-3)


def test_the_scores_of_all_matches_sum_to_the_gradient_without_prior(model: PoseModel, state: PoseState) -> None:
    directions = model.directions(state)
    _, gradient = model.normal_equations(state, directions, NOISE)
    prior = np.concatenate([np.zeros(6), model.prior_precision(NOISE)[6:] * state.nuisance()])
    scores = model.scores(directions, NOISE, (directions[0].residual, directions[1].residual))
    np.testing.assert_allclose(scores.sum(axis=0), gradient - prior, rtol=1e-8, atol=1e-8)


def test_left_perturbations_round_trip_and_carry_over() -> None:
    rng = np.random.default_rng(2)
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec([0.4, -1.0, 0.3]).as_matrix()
    motion[:3, 3] = [1.0, 2.0, -0.5]
    step = 0.3 * rng.standard_normal(6)
    np.testing.assert_allclose(left_difference(perturb_left(motion, step), motion), step, atol=1e-12)
    np.testing.assert_allclose(invert(motion) @ motion, np.eye(4), atol=1e-12)
    small = 1e-5 * rng.standard_normal(6)
    right = motion @ perturb_left(np.eye(4), small)
    np.testing.assert_allclose(left_difference(right, motion), adjoint(motion) @ small, atol=1e-9)


def test_the_spline_field_has_unit_variance_and_reproduces_a_constant() -> None:
    y, x = np.mgrid[10:86, 10:118]
    basis = spline_basis(np.stack([x.ravel(), y.ravel()], axis=1).astype(float), 96, 128)
    np.testing.assert_allclose(basis.sum(axis=1), basis.sum(axis=1)[0])
    assert (basis**2).sum(axis=1).mean() == pytest.approx(1.0, rel=0.1)
