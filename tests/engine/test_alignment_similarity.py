"""Rotations and similarities: closed forms against known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mast3r_engine.alignment.similarity import (
    fit_similarities,
    invert_similarity,
    nearest_rotation,
    rotation_exp,
    rotation_log,
    similarity,
    split_similarity,
    transform,
)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1.0, np.pi - 1e-5, np.pi])
def test_logarithm_inverts_exponential(angle: float) -> None:
    axes = np.random.default_rng(0).standard_normal((20, 3))
    v = angle * axes / np.linalg.norm(axes, axis=1, keepdims=True)
    R = rotation_exp(v)
    np.testing.assert_allclose(R, Rotation.from_rotvec(v).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(rotation_exp(rotation_log(R)), R, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(rotation_log(R), axis=1), angle, atol=1e-9)


def test_similarity_is_recovered_in_a_batch() -> None:
    rng = np.random.default_rng(1)
    R = Rotation.random(6, random_state=1).as_matrix()
    truth = similarity(rng.uniform(0.3, 3, 6), R, rng.standard_normal((6, 3)))
    points = rng.standard_normal((6, 10, 3))
    weights = rng.uniform(0.1, 1, (6, 10))
    np.testing.assert_allclose(fit_similarities(points, transform(truth, points), weights), truth, atol=1e-10)
    np.testing.assert_allclose(invert_similarity(truth) @ truth, np.tile(np.eye(4), (6, 1, 1)), atol=1e-10)
    s, back, t = split_similarity(truth)
    np.testing.assert_allclose(similarity(s, back, t), truth, atol=1e-12)


def test_mirrored_points_still_give_a_rotation() -> None:
    points = np.random.default_rng(2).standard_normal((10, 3))
    s, R, _ = split_similarity(fit_similarities(points, points * [1, 1, -1], np.ones(10)))
    assert np.linalg.det(R) == pytest.approx(1.0)
    assert s > 0


def test_points_without_extent_give_scale_one() -> None:
    fit = fit_similarities(np.ones((5, 3)), np.full((5, 3), 2.0), np.ones(5))
    np.testing.assert_allclose(split_similarity(fit)[0], 1.0)
    np.testing.assert_allclose(transform(fit, np.ones((1, 3))), [[2.0, 2.0, 2.0]])


def test_nearest_rotation_of_a_stretched_rotation() -> None:
    R = Rotation.from_rotvec([0.2, -0.4, 0.1]).as_matrix()
    np.testing.assert_allclose(nearest_rotation(R * 1.7), R, atol=1e-12)
