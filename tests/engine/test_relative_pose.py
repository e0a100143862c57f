"""Relative-pose errors, AUC@5/10/20, RRA, RTA and mAA@30 against hand-computed numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mast3r_engine.evaluation.relative_pose import pose_auc, relative_pose_errors
from mast3r_engine.evaluation.trajectory import accuracy_at, mean_average_accuracy


def pose(degrees: float, t: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec([0, np.radians(degrees), 0]).as_matrix()
    matrix[:3, 3] = t
    return matrix


def test_errors_ignore_length_and_sign_of_the_translation() -> None:
    true = np.stack([pose(0, (1, 0, 0))] * 4)
    estimated = np.stack([pose(3, (5, 0, 0)), pose(0, (-1, 0, 0)), pose(0, (1, 1, 0)), np.full((4, 4), np.nan)])
    rotation, translation = relative_pose_errors(estimated, true)
    np.testing.assert_allclose(rotation, [3, 0, 0, np.inf], atol=1e-9)
    np.testing.assert_allclose(translation, [0, 0, 45, np.inf], atol=1e-9)


def test_auc_by_hand() -> None:
    """Errors 1, 4, 8 and a failure. Up to 5: (0,0) (1,1/4) (4,1/2) and level to 5; up to 10: and on to (8,3/4), level to 10."""
    errors = np.array([8.0, np.inf, 1.0, 4.0])
    to_4 = 0.5 * 1 * 0.25 + 3 * (0.25 + 0.5) / 2
    to_8 = to_4 + 4 * (0.5 + 0.75) / 2
    assert pose_auc(errors, (5, 10, 20)) == pytest.approx([(to_4 + 0.5) / 5, (to_8 + 2 * 0.75) / 10, (to_8 + 12 * 0.75) / 20])


def test_auc_of_nothing_right_and_of_nothing() -> None:
    assert pose_auc(np.array([np.inf, 30.0]), (5, 20)) == [0.0, 0.0]
    assert all(np.isnan(pose_auc(np.empty(0))))


def test_rra_rta_and_maa() -> None:
    """Larger errors 0.5, 10.5, 29.5 and 40 degrees: they count for 30, 20, 1 and 0 of the 30 thresholds."""
    rotation, translation = np.array([0.5, 10.5, 3.0, 2.0]), np.array([0.1, 2.0, 29.5, 40.0])
    assert accuracy_at(rotation, 5.0) == 0.75
    assert accuracy_at(translation, 15.0) == 0.5
    assert mean_average_accuracy(rotation, translation) == pytest.approx((30 + 20 + 1) / 30 / 4)
