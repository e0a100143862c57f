"""The stages of the solver on scenes built backwards from the answer, and their derivatives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mast3r_engine.alignment import reprojection_stage
from mast3r_engine.alignment.camera_state import CameraState, ReprojectionOptions
from mast3r_engine.alignment.initial_poses import initial_poses, strongest_view
from mast3r_engine.alignment.pair_geometry import PairGeometry, estimate_pair
from mast3r_engine.alignment.point_stage import point_normal_equations, refine_on_points
from mast3r_engine.alignment.reduced_system import COLUMNS, FOCAL, PRINCIPAL, SIZE, ReducedSystem, _coupling, reduce_depths
from mast3r_engine.alignment.reprojection_problem import build_problem
from mast3r_engine.alignment.reprojection_stage import refine_on_pixels
from mast3r_engine.alignment.similarity import rotation_exp, similarity, split_similarity, transform
from mast3r_engine.evaluation.oracle import make_scene
from mast3r_engine.evaluation.trajectory import trajectory_errors
from tests.engine.exact_pairs import exact_canonicals, exact_pairs, true_state

SCENE = make_scene(4, 64, 96, arc_degrees=60)
TRUE = np.stack([view.cam2world for view in SCENE.views])
CANONICALS = exact_canonicals(SCENE)
PAIRS = exact_pairs(SCENE, CANONICALS)


def geometries() -> list[PairGeometry]:
    found = [estimate_pair(CANONICALS[p.i], CANONICALS[p.j], p, min_inliers=24, seed=0) for p in PAIRS]
    return [pair for pair in found if isinstance(pair, PairGeometry)]


GEOMETRIES = geometries()
PROBLEM = build_problem(CANONICALS, GEOMETRIES)


def poses_of(similarities: np.ndarray) -> np.ndarray:
    s, R, t = split_similarity(similarities)
    return similarity(np.ones_like(s), R, t)


def test_pairs_are_recovered_exactly() -> None:
    assert len(GEOMETRIES) == 6
    for pair in GEOMETRIES:
        expected = np.linalg.inv(TRUE[pair.j]) @ TRUE[pair.i]
        np.testing.assert_allclose(pair.relative, expected, atol=1e-5)
        assert pair.inliers.all()


def test_closed_form_start_is_already_the_answer() -> None:
    errors = trajectory_errors(poses_of(initial_poses(4, GEOMETRIES, 0)), TRUE)
    assert errors.ate < 1e-5
    assert errors.rotation < 1e-4


def test_one_bad_pair_hardly_moves_the_start() -> None:
    wrong = similarity(np.array(1.3), rotation_exp(np.array([0.0, 0.7, 0.0])), np.array([1.0, 0.0, 0.0]))
    pairs = [replace(GEOMETRIES[0], relative=wrong @ GEOMETRIES[0].relative), *GEOMETRIES[1:]]
    errors = trajectory_errors(poses_of(initial_poses(4, pairs, 0)), TRUE)
    assert errors.ate < 0.02
    assert errors.rotation < 0.5


def test_point_normal_equations_match_finite_differences() -> None:
    rng = np.random.default_rng(0)
    poses = similarity(rng.uniform(0.8, 1.2, 2), rotation_exp(rng.standard_normal((2, 3))), rng.standard_normal((2, 3)))
    p, q, w = rng.standard_normal((20, 3)), rng.standard_normal((20, 3)), rng.uniform(0.1, 1, 20)
    ph, qh = np.c_[p, np.ones(20)], np.c_[q, np.ones(20)]
    moments = np.stack([(ph.T * w) @ ph, (ph.T * w) @ qh, (qh.T * w) @ qh])[None]
    H, g = point_normal_equations(poses, np.array([0]), np.array([1]), moments)

    def residuals(step: np.ndarray) -> np.ndarray:
        s, R, t = split_similarity(poses)
        step = step.reshape(2, 7)
        moved = similarity(s * np.exp(step[:, 6]), rotation_exp(step[:, :3]) @ R, t + step[:, 3:6])
        return (np.sqrt(w)[:, None] * (transform(moved[0], p) - transform(moved[1], q))).ravel()

    h = 1e-6
    J = np.stack([(residuals(h * e) - residuals(-h * e)) / (2 * h) for e in np.eye(14)], axis=1)
    np.testing.assert_allclose(H, J.T @ J, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(g, J.T @ residuals(np.zeros(14)), rtol=1e-6, atol=1e-6)


def test_point_stage_recovers_perturbed_poses_and_scales() -> None:
    rng = np.random.default_rng(1)
    s = np.exp(0.1 * rng.standard_normal(4))
    start = similarity(s, rotation_exp(0.1 * rng.standard_normal((4, 3))) @ TRUE[:, :3, :3], TRUE[:, :3, 3] + 0.1)
    result = refine_on_points(start, GEOMETRIES, root=0)
    sizes = split_similarity(result.poses)[0]
    assert trajectory_errors(poses_of(result.poses), TRUE).ate < 1e-4
    np.testing.assert_allclose(sizes, sizes[0], rtol=1e-4)
    assert np.log(sizes).mean() == pytest.approx(np.log(s).mean(), abs=1e-6)
    np.testing.assert_allclose(result.poses[0, :3, 3], start[0, :3, 3])


def perturbed(sigma: float, seed: int = 2) -> CameraState:
    truth, rng = true_state(SCENE, PROBLEM), np.random.default_rng(seed)
    return replace(
        truth,
        rotation=truth.rotation @ rotation_exp(sigma * rng.standard_normal((4, 3))),
        centre=truth.centre + sigma * rng.standard_normal((4, 3)),
        log_focal=truth.log_focal + sigma * rng.standard_normal(4),
        log_depth=truth.log_depth + sigma * rng.standard_normal(len(truth.log_depth)),
    )


def test_true_cameras_have_no_residual() -> None:
    result = refine_on_pixels(PROBLEM, true_state(SCENE, PROBLEM), 0, ReprojectionOptions(max_steps=0))
    assert np.sqrt(result.squared_error).max() < 2e-3  # canonical points are float32, offsets go through an arc tangent


def test_pixel_stage_recovers_perturbed_cameras_and_depths() -> None:
    result = refine_on_pixels(PROBLEM, perturbed(0.02), 0, ReprojectionOptions())
    poses = similarity(np.ones(4), result.state.rotation, result.state.centre)
    errors = trajectory_errors(poses, TRUE)
    assert errors.ate < 1e-5
    assert errors.rotation < 1e-4
    np.testing.assert_allclose(result.state.log_focal, true_state(SCENE, PROBLEM).log_focal, atol=1e-5)
    matched = np.unique(PROBLEM.group_anchor)
    deviation = result.state.log_depth[matched] - np.log(PROBLEM.canonical_depth[matched])
    np.testing.assert_allclose(deviation, np.log(1 / errors.scale), atol=2e-4)
    assert len(result.costs) < 20


def test_principal_points_are_recovered_where_a_prior_lets_them_move() -> None:
    state = perturbed(0.01)
    shifted = replace(state, principal_shift=np.random.default_rng(5).normal(0, 2, (4, 2)))
    held = refine_on_pixels(PROBLEM, shifted, 0, ReprojectionOptions())
    np.testing.assert_array_equal(held.state.principal_shift, shifted.principal_shift)
    result = refine_on_pixels(PROBLEM, shifted, 0, ReprojectionOptions(principal_sigma=5.0))
    assert np.abs(result.state.principal_shift).max() < 1e-3
    poses = similarity(np.ones(4), result.state.rotation, result.state.centre)
    assert trajectory_errors(poses, TRUE).ate < 1e-5


def test_shared_focal_stays_shared() -> None:
    state = perturbed(0.005)
    state = replace(state, log_focal=np.full(4, state.log_focal.mean()))
    result = refine_on_pixels(PROBLEM, state, 0, ReprojectionOptions(shared_focal=True))
    assert np.ptp(result.state.log_focal) < 1e-12
    assert abs(result.state.log_focal[0] - state.log_focal[0]) > 1e-4


@pytest.mark.parametrize("options", [ReprojectionOptions(), ReprojectionOptions(principal_sigma=3.0)])
def test_gradient_of_all_unknowns_matches_finite_differences(options: ReprojectionOptions) -> None:
    state, sigma = perturbed(0.02), np.full(8, 2.0)
    blocks = reprojection_stage.evaluate(PROBLEM, state, sigma, options)
    system = reduce_depths(PROBLEM, state, blocks, options)
    gradient = full_gradient(system, options).reshape(4, COLUMNS)

    def cost(moved: CameraState) -> float:
        squared = reprojection_stage.evaluate(PROBLEM, moved, sigma, options).squared_error
        return reprojection_stage._cost(PROBLEM, squared, sigma, moved, options)

    anchors = len(state.log_depth)
    rng = np.random.default_rng(4)
    for _ in range(12):
        camera_step, depth_step = rng.standard_normal((4, COLUMNS)), rng.standard_normal(anchors)
        camera_step[:, PRINCIPAL] *= options.principal_sigma or 0.0
        h = 1e-6
        ahead, behind = (reprojection_stage._move(state, k * h * camera_step, k * h * depth_step) for k in (1, -1))
        numeric = (cost(ahead) - cost(behind)) / (2 * h)
        analytic = float((gradient * camera_step).sum() + system.slope @ depth_step)
        assert analytic == pytest.approx(numeric, rel=1e-4)


def couplings(system: ReducedSystem, options: ReprojectionOptions) -> np.ndarray:  # (A, 10N)
    """All second derivatives by depths and cameras, dense."""
    full = np.zeros((len(system.slope), 4 * COLUMNS))
    active = COLUMNS if options.principal_sigma is not None else 8
    groups = np.c_[system.coupling, np.zeros((len(system.coupling), 2))]
    for k in range(4):
        E, columns = _coupling(PROBLEM, groups, system.to_source, system.to_target, k, system.depth_weight, active)
        full[PROBLEM.anchor_start[k] : PROBLEM.anchor_start[k + 1], columns] += E
    return full


def full_gradient(system: ReducedSystem, options: ReprojectionOptions) -> np.ndarray:  # (10N,)
    """Undo the elimination: g of the cameras = reduced g + E^T (slope / curvature)."""
    return system.g + couplings(system, options).T @ (system.slope / system.curvature)


def test_elimination_equals_solving_everything_at_once() -> None:
    state, options = perturbed(0.02), ReprojectionOptions(principal_sigma=3.0)
    blocks = reprojection_stage.evaluate(PROBLEM, state, np.full(8, 2.0), options)
    system = reduce_depths(PROBLEM, state, blocks, options)
    cameras, anchors = 4 * COLUMNS, len(state.log_depth)
    H = np.zeros((cameras + anchors, cameras + anchors))
    H[cameras:, cameras:] = np.diag(system.curvature)
    E = couplings(system, options)
    H[cameras:, :cameras], H[:cameras, cameras:] = E, E.T
    H[:cameras, :cameras] = system.H + H[:cameras, cameras:] @ (H[cameras:, :cameras] / system.curvature[:, None])
    g = np.concatenate([full_gradient(system, options), system.slope])
    sizes = np.arange(4) * COLUMNS + SIZE
    H[np.ix_(sizes, sizes)] += max(float(system.H[sizes, sizes].max()), 1.0)
    free = np.ones(len(H), bool)
    free[:6] = False  # the root's pose
    expected = np.zeros(len(H))
    expected[free] = -np.linalg.solve(H[np.ix_(free, free)], g[free])
    step, depth_step = system.solve(0, 0.0, options)
    np.testing.assert_allclose(step.ravel(), expected[:cameras], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(depth_step, expected[cameras:], rtol=1e-5, atol=1e-9)
    assert np.abs(step[:, FOCAL]).max() > 0


def test_the_strongest_view_does_not_depend_on_numbering() -> None:
    order = [2, 0, 3, 1]
    renamed = [replace(p, i=order[p.i], j=order[p.j]) for p in GEOMETRIES]
    assert strongest_view(4, renamed) == order[strongest_view(4, GEOMETRIES)]
