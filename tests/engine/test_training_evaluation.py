"""Scores of reconstructions against known cameras and depth."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from m3r.main import app
from mast3r_engine.errors import TrainingError
from mast3r_engine.evaluation.checkpoint import SceneScores, score_poses, score_scene
from mast3r_engine.evaluation.oracle import OracleNetwork, grey_image, make_scene
from mast3r_engine.evaluation.posed_photos import PosedScene, read_depth_map, read_posed_scenes
from mast3r_engine.options import Options


def ring(count: int) -> np.ndarray:
    """Cameras on an arc, looking at its centre."""
    poses = np.tile(np.eye(4), (count, 1, 1))
    for i, angle in enumerate(np.linspace(-0.5, 0.5, count)):
        c, s = np.cos(angle), np.sin(angle)
        poses[i, :3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
        poses[i, :3, 3] = [-3 * s, 0, -3 * c]
    return poses


def scene_of(poses: np.ndarray) -> PosedScene:
    photos = [Path(f"{i}.jpg") for i in range(len(poses))]
    K = np.tile(np.eye(3), (len(poses), 1, 1))
    return PosedScene("ring", True, photos, poses, K, [None] * len(poses), 1.0)


def test_the_truth_up_to_a_similarity_scores_full_marks() -> None:
    poses = ring(5)
    moved = poses.copy()
    moved[:, :3, 3] = 2.5 * poses[:, :3, 3] + 1
    scores = score_poses(scene_of(poses), moved)
    assert scores.registered == 5
    assert scores.rra == scores.rta == (1.0, 1.0, 1.0)
    assert scores.ate < 1e-9
    assert scores.mean_rotation < 1e-4


def test_a_wrong_and_a_missing_camera_are_counted() -> None:
    poses = ring(5)
    estimated = poses.copy()
    estimated[1] = np.nan
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    estimated[4, :3, :3] = estimated[4, :3, :3] @ quarter
    scores = score_poses(scene_of(poses), estimated)
    assert scores.registered == 4
    # 10 pairs: 4 have camera 1, 3 more have camera 4.
    assert scores.rra == pytest.approx((0.3, 0.3, 0.3))
    assert scores.mean_rotation == pytest.approx(3 * 90 / 6, abs=1e-6)


def test_pairs_wide_apart_are_right_within_limits_of_both_angles() -> None:
    """On an arc of 57 degrees in four steps 30 degrees are reached by pairs three and four steps apart: 2 + 1 of 10."""
    poses = ring(5)
    scores = score_poses(scene_of(poses), poses)
    assert (scores.wide_right, scores.wide) == (3, 3)
    estimated = poses.copy()
    estimated[0, :3, 3] += [0.0, 3.0, 0.0]  # directions wrong, orientations right: pairs (0, 3) and (0, 4)
    assert score_poses(scene_of(poses), estimated).wide_right == 1
    estimated[4] = np.nan
    lost = score_poses(scene_of(poses), estimated)
    assert (lost.wide_right, lost.wide) == (0, 3)


def test_the_command_compares_with_and_without_bundle_adjustment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        {"file": f"{i}.jpg", "fx": 5.0, "fy": 5.0, "cx": 3.0, "cy": 4.0, "cam2world": pose.tolist()}
        for i, pose in enumerate(ring(3))
    ]
    (tmp_path / "cameras.json").write_text(json.dumps({"images": entries}))
    asked: list[tuple[str, int]] = []

    def record(scene: PosedScene, net: object, options: Options) -> SceneScores:
        asked.append((options.refine, options.seed))
        return score_poses(scene, scene.cam2world)

    monkeypatch.setattr("mast3r_engine.evaluation.checkpoint.score_scene", record)
    command = ["eval", "reconstruction", str(tmp_path), "--options", '{"seed": 3}']
    report = tmp_path / "report.json"
    result = CliRunner().invoke(app, [*command, "--refine", "--report", str(report)])
    assert result.exit_code == 0, result.output
    assert asked == [("none", 3), ("bundle", 3)]
    assert [row["method"] for row in json.loads(report.read_text())] == ["network alone", "network, bundle"]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert asked[2:] == [(Options().refine, 3)]


def test_nothing_registered_is_not_a_number_but_no_crash() -> None:
    poses = ring(4)
    scores = score_poses(scene_of(poses), np.full_like(poses, np.nan), "no_overlap")
    assert scores.registered == 0
    assert scores.rra == (0.0, 0.0, 0.0)
    assert np.isnan(scores.ate)
    assert scores.failure == "no_overlap"


def test_folders_are_read_scene_by_scene(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    depth = np.array([[0, 1500], [2000, 3000]], np.uint16)
    Image.fromarray(depth).save(folder / "d.png")
    entries = [
        {"file": f"{i}.jpg", "fx": 50.0, "fy": 51.0, "cx": 3.0, "cy": 4.0, "cam2world": np.eye(4).tolist(), "scene": "ab"[i // 2]}
        for i in range(4)
    ]
    entries[0]["depth"] = "d.png"
    entries.append({"file": "unposed.jpg", "fx": None, "cam2world": None, "scene": "a"})
    (folder / "cameras.json").write_text(json.dumps({"metric": True, "depth_scale": 0.001, "images": entries}))
    scenes = read_posed_scenes(tmp_path)
    assert [s.name for s in scenes] == ["set/a", "set/b"]
    assert [len(s.photos) for s in scenes] == [2, 2]
    assert scenes[0].K[0].tolist() == [[50, 0, 3], [0, 51, 4], [0, 0, 1]]
    known = read_depth_map(scenes[0], 0)
    assert known is not None
    assert known.tolist() == [[0, 1.5], [2, 3]]
    assert read_depth_map(scenes[0], 1) is None
    with pytest.raises(TrainingError, match="two posed photographs"):
        read_posed_scenes(tmp_path / "empty")


def test_the_oracle_scores_well_on_its_own_room(tmp_path: Path) -> None:
    room = make_scene(4, 96, 128, arc_degrees=30.0)
    entries = []
    for i, view in enumerate(room.views):
        Image.fromarray(grey_image(i, 96, 128)).save(tmp_path / f"{i}.png")
        Image.fromarray((view.depth * 2000).round().astype(np.uint16)).save(tmp_path / f"{i}_depth.png")
        K = view.K
        entries.append(
            {
                "file": f"{i}.png", "fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2],
                "cam2world": view.cam2world.tolist(), "depth": f"{i}_depth.png",
            }
        )  # fmt: skip
    (tmp_path / "cameras.json").write_text(json.dumps({"metric": True, "depth_scale": 0.0005, "images": entries}))
    (scene,) = read_posed_scenes(tmp_path)
    scores = score_scene(scene, OracleNetwork(room))
    assert scores.registered == 4
    assert scores.rra[0] == 1.0
    assert scores.ate < 0.03
    assert scores.focal < 0.05
    assert scores.scale < 0.05
    assert scores.depth < 0.05
    wrong = dataclasses.replace(scene, K=scene.K * 2)
    assert score_scene(wrong, OracleNetwork(room)).focal > 0.5
