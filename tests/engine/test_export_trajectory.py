"""trajectory.txt as evo reads and scores it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mast3r_engine.evaluation.trajectory import trajectory_errors
from mast3r_engine.export import write_artifacts
from tests.engine.exported_oracle import oracle_scene, truth
from tests.engine.room_reconstruction import room_reconstruction


def test_evo_reads_the_poses_and_scores_them_as_we_do(tmp_path: Path) -> None:
    file_interface = pytest.importorskip("evo.tools.file_interface", exc_type=ImportError)
    from evo.core import metrics
    from evo.core.trajectory import PoseTrajectory3D

    scene = oracle_scene()
    write_artifacts(scene, tmp_path, ["trajectory.txt"])
    read = file_interface.read_tum_trajectory_file(str(tmp_path / "trajectory.txt"))
    np.testing.assert_array_equal(read.timestamps, [0, 1, 2, 3, 4])
    np.testing.assert_allclose(np.stack(read.poses_se3), scene.cam2world, atol=1e-9)
    reference = PoseTrajectory3D(poses_se3=list(truth()), timestamps=np.arange(5.0))
    read.align(reference, correct_scale=True)
    score = metrics.APE(metrics.PoseRelation.translation_part)
    score.process_data((reference, read))
    assert score.get_statistic(metrics.StatisticsType.rmse) == pytest.approx(
        trajectory_errors(scene.cam2world, truth()).ate, rel=1e-6
    )


def test_photographs_outside_the_largest_component_are_named_in_a_comment(tmp_path: Path) -> None:
    write_artifacts(room_reconstruction(4, component=[0, -1, 0, 1]), tmp_path, ["trajectory.txt"])
    lines = (tmp_path / "trajectory.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in lines if not line.startswith("#")] == ["0", "2"]
    assert "# left out: photo 1 für.jpg (no pair holds)" in lines
    assert "# left out: photo 3 für.jpg (component 1)" in lines


def test_times_that_were_given_stand_in_the_trajectory_in_their_order(tmp_path: Path) -> None:
    scene = room_reconstruction(4, component=[0, -1, 0, 0])
    for timestamps, wanted in (
        ([30.25, None, 1_700_000_000.125, 10.0], ["10.0", "30.25", "1700000000.125"]),
        ([30.25, None, None, 10.0], ["0", "2", "3"]),  # one of them is not known
        ([], ["0", "2", "3"]),
    ):
        write_artifacts(dataclasses.replace(scene, timestamps=timestamps), tmp_path, ["trajectory.txt"])
        lines = (tmp_path / "trajectory.txt").read_text(encoding="utf-8").splitlines()
        assert [line.split()[0] for line in lines if not line.startswith("#")] == wanted
