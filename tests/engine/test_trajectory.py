"""Errors of cameras against truth, on answers known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mast3r_engine.evaluation.trajectory import (
    accuracy_at,
    fit_similarity,
    mean_average_accuracy,
    relative_errors,
    rotation_angle,
    trajectory_errors,
)


def random_poses(count: int, seed: int = 0) -> np.ndarray:
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.random(count, random_state=seed).as_matrix()
    poses[:, :3, 3] = np.random.default_rng(seed).standard_normal((count, 3))
    return poses


def test_a_similarity_leaves_no_error() -> None:
    true = random_poses(5)
    R = Rotation.from_rotvec([0.3, 0.2, -1.0]).as_matrix()
    estimated = true.copy()
    estimated[:, :3, :3] = R @ true[:, :3, :3]
    estimated[:, :3, 3] = 0.5 * true[:, :3, 3] @ R.T + [1, 2, 3]
    errors = trajectory_errors(estimated, true)
    assert errors.ate == pytest.approx(0.0, abs=1e-12)
    assert errors.rotation == pytest.approx(0.0, abs=1e-6)
    assert errors.scale == pytest.approx(2.0)
    assert errors.registered == 5


def test_ate_of_a_known_residual() -> None:
    """Displacements along the normal of a symmetric cross that no similarity can explain."""
    true = np.tile(np.eye(4), (4, 1, 1))
    true[:, :3, 3] = [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]
    estimated = true.copy()
    estimated[:, 2, 3] = [0.01, 0.01, -0.01, -0.01]
    assert trajectory_errors(estimated, true).ate == pytest.approx(0.01, rel=1e-3)


def test_unregistered_views_are_counted_not_hidden() -> None:
    true = random_poses(5)
    estimated = true.copy()
    estimated[1] = np.nan
    errors = trajectory_errors(estimated, true)
    assert errors.registered == 4
    assert errors.ate == pytest.approx(0.0, abs=1e-12)
    rotation, translation = relative_errors(estimated, true)
    assert (rotation == 1e6).sum() == 4
    assert (translation == 1e6).sum() == 4


def test_fewer_than_three_cameras_have_no_ate() -> None:
    assert np.isnan(trajectory_errors(random_poses(2), random_poses(2)).ate)


def test_rotation_angle_is_exact_for_tiny_and_large_angles() -> None:
    for degrees in (1e-6, 0.5, 90.0, 180.0):
        R = Rotation.from_rotvec([0, np.radians(degrees), 0]).as_matrix()
        assert rotation_angle(R, np.eye(3)) == pytest.approx(degrees, rel=1e-6)


def test_relative_errors_of_one_turned_view() -> None:
    true = random_poses(3)
    estimated = true.copy()
    estimated[2, :3, :3] = true[2, :3, :3] @ Rotation.from_rotvec([0, 0, np.radians(10.5)]).as_matrix()
    rotation, _ = relative_errors(estimated, true)
    np.testing.assert_allclose(rotation, [0, 10.5, 10.5], atol=1e-6)
    assert accuracy_at(rotation, 5) == pytest.approx(1 / 3)
    assert mean_average_accuracy(rotation, np.zeros(3)) == pytest.approx((10 / 3 + 20) / 30)


def test_translation_direction_ignores_the_sign() -> None:
    true = random_poses(2)
    estimated = true.copy()
    relative = np.linalg.inv(true[0]) @ true[1]
    relative[:3, 3] *= -1
    estimated[1] = true[0] @ relative
    np.testing.assert_allclose(relative_errors(estimated, true)[1], 0, atol=1e-5)


def test_weights_choose_the_points() -> None:
    source = np.random.default_rng(3).standard_normal((6, 3))
    target = 2 * source + 1
    target[5] += 100
    s, R, t = fit_similarity(source, target, np.array([1, 1, 1, 1, 1, 1e-14]))
    assert s == pytest.approx(2.0, rel=1e-6)
    np.testing.assert_allclose(R, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(t, 1.0, atol=1e-6)
