"""The whole map-free benchmark on a scene of the oracle: photographs on disk, localisation, submission, scores, command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from m3r.main import app
from mast3r_engine.evaluation.mapfree_dataset import read_scenes
from mast3r_engine.evaluation.mapfree_metrics import score_submission
from mast3r_engine.evaluation.mapfree_run import localize_scenes
from mast3r_engine.evaluation.mapfree_submission import read_submission, write_submission
from mast3r_engine.evaluation.oracle import OracleNetwork, OracleNoise, OracleScene, grey_image, make_scene
from mast3r_engine.localisation import Localization

FRAMES = 7  # queries; 0 and 5 are asked for


@pytest.fixture(scope="module")
def oracle() -> OracleScene:
    return make_scene(1 + FRAMES, 128, 96, seed=4, arc_degrees=40)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, oracle: OracleScene) -> Path:
    scene = tmp_path_factory.mktemp("mapfree") / "val" / "s00460"
    names = ["seq0/frame_00000.jpg"] + [f"seq1/frame_{k:05d}.jpg" for k in range(FRAMES)]
    intrinsics, poses = [], []
    for k, (name, view) in enumerate(zip(names, oracle.views, strict=True)):
        (scene / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey_image(k, view.height, view.width)).save(scene / name, quality=100)
        world2cam = np.linalg.inv(view.cam2world) @ oracle.views[0].cam2world
        quaternion = Rotation.from_matrix(world2cam[:3, :3]).as_quat(scalar_first=True)
        poses.append(f"{name} {' '.join(map(str, [*quaternion, *world2cam[:3, 3]]))}")
        K = view.K
        intrinsics.append(f"{name} {K[0, 0]} {K[1, 1]} {K[0, 2]} {K[1, 2]} {view.width} {view.height}")
    (scene / "intrinsics.txt").write_text("\n".join(intrinsics))
    (scene / "poses.txt").write_text("\n".join(poses))
    return scene.parents[1]


def test_localised_queries_score_well(root: Path, oracle: OracleScene, tmp_path: Path) -> None:
    seen: list[tuple[str, str, bool]] = []

    def note(scene: str, frame: str, answer: Localization) -> None:
        seen.append((scene, frame, answer.localized))

    scenes = read_scenes(root, "val")
    estimates = localize_scenes(scenes, OracleNetwork(oracle, OracleNoise()), on_frame=note)
    assert seen == [("s00460", "seq1/frame_00000.jpg", True), ("s00460", "seq1/frame_00005.jpg", True)]
    write_submission(estimates, tmp_path / "submission.zip")
    scores = score_submission(scenes, read_submission(tmp_path / "submission.zip"))
    assert (scores.frames, scores.failures) == (2, 0)
    assert (scores.pose_precision, scores.pose_auc, scores.vcre_precision) == (1.0, 1.0, 1.0)
    assert 0 < scores.median_translation < 0.1
    assert scores.median_rotation < 0.5
    assert scores.median_vcre < 5


def test_the_command_line_scores_a_submission(root: Path, tmp_path: Path) -> None:
    scenes = read_scenes(root, "val")
    write_submission({"s00460": []}, tmp_path / "empty.zip")
    result = CliRunner().invoke(
        app, ["eval", "mapfree", str(root), "--split", "val", "--submission", str(tmp_path / "empty.zip")]
    )
    assert result.exit_code == 0, result.output
    assert f"{len(scenes[0].queries)} frames, 2 without an estimate" in result.output
    assert "0.0%" in result.output


def test_the_command_line_names_what_is_wrong(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["eval", "mapfree", str(tmp_path)])
    assert result.exit_code == 1
    assert "invalid_dataset" in result.output
    assert "no map-free scene" in result.output
