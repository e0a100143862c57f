"""`m3r reconstruct --cameras … --masks … --depths …`: what is read, and what is refused before the weights are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from m3r.main import app
from m3r.prior_files import read_priors
from mast3r_engine import PriorsError
from mast3r_engine.evaluation.oracle import OracleNetwork, OracleNoise, grey_image, make_scene

SCENE = make_scene(3, 96, 128, arc_degrees=45)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for k in range(3):
        Image.fromarray(grey_image(k, 96, 128)).save(folder / f"{k}.png")
    return folder


def write_cameras(place: Path) -> Path:
    said = {f"{k}.png": {"pose": {"cam2world": view.cam2world.tolist()}} for k, view in enumerate(SCENE.views)}
    place.write_text(json.dumps({"schema_version": 1, "photos": said}))
    return place


def write_maps(folder: Path) -> tuple[Path, Path]:
    masks, depths = folder / "masks", folder / "depths"
    masks.mkdir()
    depths.mkdir()
    white = np.full((96, 128), 255, np.uint8)
    white[:, :40] = 0
    Image.fromarray(white).save(masks / "0.png.png")  # behind the whole name
    Image.fromarray((1000 * SCENE.views[1].depth).astype(np.uint16)).save(depths / "1.png")  # in its place
    np.save(depths / "2.npy", SCENE.views[2].depth.astype(np.float32))
    return masks, depths


def test_files_become_priors(tmp_path: Path, photos: Path) -> None:
    masks, depths = write_maps(tmp_path)
    paths = sorted(photos.iterdir())
    priors = read_priors(paths, write_cameras(tmp_path / "cameras.json"), masks, depths)
    assert sorted(priors.poses) == ["0.png", "1.png", "2.png"]
    assert priors.masks["0.png"].use.sum() == 96 * 88
    np.testing.assert_allclose(priors.depths["1.png"].depth, SCENE.views[1].depth, atol=0.0011)
    np.testing.assert_allclose(priors.depths["2.png"].depth, SCENE.views[2].depth, rtol=1e-6)


def test_the_command_puts_the_result_into_the_users_frame(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mast3r_engine.checkpoints as checkpoints

    monkeypatch.setattr(checkpoints, "load_default_network", lambda device: OracleNetwork(SCENE, OracleNoise.none()))
    masks, depths = write_maps(tmp_path)
    cameras = write_cameras(tmp_path / "cameras.json")
    given = ["--cameras", str(cameras), "--masks", str(masks), "--depths", str(depths)]
    answer = CliRunner().invoke(app, ["reconstruct", str(photos), "-o", str(tmp_path / "out"), *given])
    assert answer.exit_code == 0, answer.output
    poses = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert poses["world"] == "the frame of the pose or position priors"
    for view, image in zip(SCENE.views, poses["images"], strict=True):
        np.testing.assert_allclose(image["cam2world"], view.cam2world, atol=1e-9)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"photos": {"9.png": {"gravity": [0, 1, 0]}}}, "9.png, which is not among the photographs"),
        ({"photos": {"0.png": {"pose": {"cam2world": np.diag([2.0, 2, 2, 1]).tolist()}}}}, "0.png: pose cam2world"),
        ({"fotos": {}}, "unknown field 'fotos'"),
    ],
)
def test_wrong_cameras_are_refused_before_the_weights_are_read(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, document: object, message: str
) -> None:
    import mast3r_engine.checkpoints as checkpoints

    monkeypatch.setattr(checkpoints, "load_default_network", lambda device: pytest.fail("the weights were read"))
    (tmp_path / "cameras.json").write_text(json.dumps(document))
    command = ["reconstruct", str(photos), "-o", str(tmp_path / "out"), "--cameras", str(tmp_path / "cameras.json")]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 1
    assert answer.output.startswith("invalid_priors: ")
    assert message in answer.output
    assert not (tmp_path / "out").exists()


def test_files_of_no_photograph_and_files_that_are_none(tmp_path: Path, photos: Path) -> None:
    paths = sorted(photos.iterdir())
    masks, depths = write_maps(tmp_path)
    (masks / "7.png").write_bytes(b"")
    with pytest.raises(typer.BadParameter, match=r"7\.png belongs to no photograph"):
        read_priors(paths, None, masks, None)
    (masks / "7.png").rename(masks / "2.png")
    with pytest.raises(PriorsError, match=r"2\.png: 2\.png cannot be used"):
        read_priors(paths, None, masks, None)
    Image.new("RGB", (128, 96)).save(depths / "0.png")
    with pytest.raises(PriorsError, match="16-bit PNG in millimetres"):
        read_priors(paths, None, None, depths)
    (tmp_path / "cameras.json").write_text("{")
    with pytest.raises(typer.BadParameter, match="not readable JSON"):
        read_priors(paths, tmp_path / "cameras.json", None, None)
    Image.new("L", (128, 96)).save(masks / "2.png")
    with pytest.raises(PriorsError, match=r"2\.png cannot be used: mask uses no pixel"):
        read_priors(paths, None, masks, None)
