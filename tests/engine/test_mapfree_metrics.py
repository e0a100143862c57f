"""The map-free metrics against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mast3r_engine.evaluation.mapfree_dataset import read_scene
from mast3r_engine.evaluation.mapfree_metrics import pose_errors, ranked_auc, scene_errors, score_submission, vcre, virtual_points
from mast3r_engine.evaluation.mapfree_submission import FrameEstimate
from mast3r_engine.localisation import PinholeCamera
from tests.engine.mapfree_scene import sideways, write_scene

CAMERA = PinholeCamera(np.array([[1000.0, 0, 500.0], [0, 1000.0, 500.0], [0, 0, 1]]), 1000, 1000)
LEVELS = np.array([1.8, 2.1, 2.4, 2.7, 3.0, 3.3, 3.6])


def at(x: float, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


def test_virtual_points() -> None:
    points = virtual_points()
    assert points.shape == (196, 3)
    assert sorted(set(points[:, 0].round(9))) == [-0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9]
    assert sorted(set(points[:, 1].round(9))) == [-0.45, -0.15, 0.15, 0.45]
    assert sorted(set(points[:, 2].round(9))) == list(LEVELS)


def test_vcre_of_a_sideways_shift() -> None:
    """A shift by d moves a point at depth z by f d / z; x = 0.9 at z = 1.8 lies on the border, where clamping takes the shift."""
    expected = np.mean(1000 * 0.01 / LEVELS)
    clamped = (
        1000 * 0.01 / 1.8 / (7 * 7)
    )  # one of 7 x values at one of 7 depths does not move: the estimate lies left of the truth
    assert vcre(at(-0.01), at(0.0), CAMERA) == pytest.approx(expected - clamped, rel=1e-9)


def test_vcre_clamps_to_the_image() -> None:
    """An estimate that looks far away sends every point to the right border: u_est = W."""
    far = at(-1e6)
    points = virtual_points()
    u = np.clip(1000 * points[:, 0] / points[:, 2] + 500, 0, 1000)
    assert vcre(far, at(0.0), CAMERA) == pytest.approx(np.mean(1000 - u), rel=1e-9)


def test_points_behind_the_camera_are_projected_too() -> None:
    """Half a turn about y: x and z change their signs, so x / z stays and every point lands where it was."""
    turned = np.diag([-1.0, 1.0, -1.0, 1.0])
    points = virtual_points()
    v = 1000 * points[:, 1] / points[:, 2]
    assert vcre(turned, np.eye(4), CAMERA) == pytest.approx(np.mean(2 * np.abs(v)), rel=1e-9)


def test_pose_errors() -> None:
    angle = np.radians(3.0)
    turned = np.array(
        [[np.cos(angle), 0, np.sin(angle), 3.0], [0, 1, 0, 4.0], [-np.sin(angle), 0, np.cos(angle), 0], [0, 0, 0, 1]]
    )
    assert pose_errors(turned, np.eye(4)) == pytest.approx((5.0, 3.0))
    assert pose_errors(np.diag([-1.0, 1.0, -1.0, 1.0]), np.eye(4))[1] == pytest.approx(180.0)


def test_auc_by_hand() -> None:
    """Ranked good, bad, good of 4 frames, one of them missing: 1/4 * 1 + 1/4 * 1/2 + 1/4 * 2/3."""
    auc = ranked_auc(np.array([True, True, False]), np.array([9.0, 1.0, 5.0]), failures=1)
    assert auc == pytest.approx(0.25 * (1 + 0.5 + 2 / 3))


def test_auc_of_one_confidence_is_precision_times_coverage() -> None:
    auc = ranked_auc(np.array([True, False, True, True]), np.full(4, 7.0), failures=2)
    assert auc == pytest.approx(0.75 * 4 / 6)
    assert np.isnan(ranked_auc(np.empty(0, bool), np.empty(0), 0))
    assert ranked_auc(np.empty(0, bool), np.empty(0), 3) == 0.0


def test_a_scene_counts_every_fifth_entry_and_its_missing_frames(tmp_path: Path) -> None:
    write_scene(tmp_path / "s00460", [sideways(0.1 * k) for k in range(11)])
    scene = read_scene(tmp_path / "s00460")
    submitted = [
        FrameEstimate("seq1/frame_00005.jpg", at(0.5 + 0.2), 3.0),
        FrameEstimate("seq1/frame_00003.jpg", at(9.0), 3.0),  # not asked for
        FrameEstimate("seq1/frame_00010.jpg", at(1.0 - 0.3), 1.0),
    ]
    errors = scene_errors(scene, submitted)
    np.testing.assert_allclose(errors.translation, [0.2, 0.3])
    np.testing.assert_allclose(errors.confidence, [3.0, 1.0])
    assert errors.failures == 1  # frame 0


def test_the_reference_and_the_first_query_share_a_key(tmp_path: Path) -> None:
    """The first query's pose (0.4 m) replaces the reference's under key 0, whose place in the order stays."""
    write_scene(tmp_path / "s00460", [sideways(0.4), sideways(0.5)])
    errors = scene_errors(read_scene(tmp_path / "s00460"), [FrameEstimate("seq1/frame_00000.jpg", at(0.4), 1.0)])
    np.testing.assert_allclose(errors.translation, [0.0], atol=1e-12)
    assert errors.failures == 0


def test_the_table_over_two_scenes_and_a_missing_one(tmp_path: Path) -> None:
    """Three scenes of 11, 6 and 6 frames; evaluated 3 + 2; the scene that is missing counts all of its 6."""
    write_scene(tmp_path / "s00460", [sideways(0.0)] * 11)
    write_scene(tmp_path / "s00461", [sideways(0.0)] * 6)
    write_scene(tmp_path / "s00462", [sideways(0.0)] * 6)
    scenes = [read_scene(tmp_path / name) for name in ("s00460", "s00461", "s00462")]
    frames = [f"seq1/frame_{k:05d}.jpg" for k in (0, 5, 10)]
    submission = {
        "s00460": [FrameEstimate(f, at(t), c) for f, t, c in zip(frames, (0.1, 0.2, 0.4), (3.0, 2.0, 1.0), strict=True)],
        "s00461": [FrameEstimate(frames[0], at(1.0), 4.0)],
    }
    scores = score_submission(scenes, submission)
    assert (scores.frames, scores.failures) == (3 + 2 + 6, 1 + 6)
    assert scores.median_translation == pytest.approx((0.2 + 1.0) / 2)  # medians of {0.1, 0.2, 0.4} and {1.0}
    assert scores.median_rotation == pytest.approx(0.0, abs=1e-6)
    assert scores.pose_precision == pytest.approx(2 / 11)
    # ranked by confidence: bad, good, good, bad
    assert scores.pose_auc == pytest.approx((0 + 1 / 2 + 2 / 3 + 2 / 4) / 11)
    # pixels are 60 d / z: even 1 m moves no point by 90 px
    assert scores.vcre_precision == pytest.approx(4 / 11)
    assert scores.vcre_auc == pytest.approx(4 / 11)
