"""Reading the map-free benchmark's folders, and its submission zip."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from mast3r_engine.errors import DatasetError
from mast3r_engine.evaluation.mapfree_dataset import frame_number, read_scene, read_scenes
from mast3r_engine.evaluation.mapfree_submission import FrameEstimate, read_submission, write_submission
from tests.engine.mapfree_scene import HEIGHT, QUERIES, WIDTH, sideways, write_scene

QUARTER_TURN = (np.sqrt(0.5), 0, np.sqrt(0.5), 0, 1.0, 2.0, 3.0)  # 90 degrees about y: X_cam = (z, y, -x) + (1, 2, 3)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_scene(tmp_path / "val" / "s00460", [QUARTER_TURN, *[sideways(0.1 * k) for k in range(1, QUERIES)]])
    write_scene(tmp_path / "val" / "s00461", [sideways(0.0)] * 3)
    return tmp_path


def test_scenes_are_read_with_every_fifth_query(root: Path) -> None:
    first, second = read_scenes(root, "val")
    assert (first.name, second.name) == ("s00460", "s00461")
    assert first.queries == ["seq1/frame_00000.jpg", "seq1/frame_00005.jpg", "seq1/frame_00010.jpg"]
    assert second.queries == ["seq1/frame_00000.jpg"]
    camera = first.cameras["seq1/frame_00005.jpg"]
    assert (camera.width, camera.height, camera.K[0, 0], camera.K[1, 2]) == (WIDTH, HEIGHT, 60.0, (HEIGHT - 1) / 2)


def test_poses_are_turned_from_world_to_camera(root: Path) -> None:
    pose = read_scenes(root, "val")[0].cam2world["seq1/frame_00000.jpg"]
    # the camera centre is -R^T t: with X_cam = (z, y, -x) + t, the point X with X_cam = 0 is (3, -2, -1)
    np.testing.assert_allclose(pose[:3, 3], [3.0, -2.0, -1.0], atol=1e-12)
    np.testing.assert_allclose(pose[:3, :3] @ [0, 0, 1.0], [-1.0, 0.0, 0.0], atol=1e-12)  # its view direction in the world


def test_withheld_poses_are_none(tmp_path: Path) -> None:
    write_scene(tmp_path / "s00525", [(0.0,) * 7] * 2)
    assert read_scene(tmp_path / "s00525").cam2world == {}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("intrinsics.txt", "seq0/frame_00000.jpg 1 2 3\n", "line 1"),
        ("intrinsics.txt", "", "says nothing about"),
        ("intrinsics.txt", "seq0/frame_00000.jpg -60 60 1 1 54 72\n", "focal"),
        ("poses.txt", "seq1/frame_00001.jpg 1 0 0 nan 0 0 0\n", "line 1"),
    ],
)
def test_damaged_text_files_are_named(root: Path, file: str, text: str, message: str) -> None:
    (root / "val" / "s00461" / file).write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_scenes(root, "val")


def test_an_empty_folder_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no map-free scene"):
        read_scenes(tmp_path)


def test_frames_are_keyed_by_their_digits() -> None:
    assert frame_number("seq0/frame_00000.jpg") == frame_number("seq1/frame_00000.jpg") == 0
    assert frame_number("seq1/frame_00575.jpg") == 575
    with pytest.raises(DatasetError, match="five digits"):
        frame_number("seq1/photo.jpg")


def test_a_submission_comes_back_as_it_was(tmp_path: Path, root: Path) -> None:
    pose = read_scenes(root, "val")[0].cam2world["seq1/frame_00000.jpg"]
    write_submission({"s00460": [FrameEstimate("seq1/frame_00000.jpg", pose, 12.0)], "s00461": []}, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert sorted(archive.namelist()) == ["pose_s00460.txt", "pose_s00461.txt"]
        words = archive.read("pose_s00460.txt").decode().strip().split(" ")
    assert words[0] == "seq1/frame_00000.jpg"
    np.testing.assert_allclose([float(w) for w in words[1:]], [*QUARTER_TURN, 12.0], atol=1e-9)
    back = read_submission(tmp_path / "a.zip")
    np.testing.assert_allclose(back["s00460"][0].cam2world, pose, atol=1e-9)
    assert back["s00461"] == []


def test_malformed_lines_are_ignored_and_negative_confidence_is_not(tmp_path: Path) -> None:
    good = "seq1/frame_00005.jpg 2 0 0 0 0 0 1 0.5"  # the quaternion need not have unit length
    bad = [
        "seq1/frame_00010.jpg 1 0 0 0 0 0 1",
        "seq1/frame_00010.jpg 1 0 0 0 0 0 nan 1",
        "seq1/frame_00010.jpg 0 0 0 0 0 0 1 1",
        "seq1/frame_00010.jpg 1 0 0 0 0 0 one 1",
        "seq1/frame_00010.jpg  1 0 0 0 0 0 1 1",
    ]
    file = tmp_path / "b.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("pose_s00460.txt", "\n".join([*bad, good]))
    (estimate,) = read_submission(file)["s00460"]
    assert estimate.frame == "seq1/frame_00005.jpg"
    np.testing.assert_allclose(estimate.cam2world[:3, 3], [0, 0, -1.0])
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("pose_s00460.txt", "seq1/frame_00005.jpg 1 0 0 0 0 0 1 -0.5")
    with pytest.raises(DatasetError, match="0 or more"):
        read_submission(file)


def test_nothing_unusable_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave the frame out"):
        write_submission({"s00460": [FrameEstimate("seq1/frame_00000.jpg", np.full((4, 4), np.nan), 1.0)]}, tmp_path / "c.zip")


def test_something_else_is_no_submission(tmp_path: Path) -> None:
    (tmp_path / "d.zip").write_text("hello")
    with pytest.raises(DatasetError, match="no submission"):
        read_submission(tmp_path / "d.zip")
