"""Artefacts by name: what is written, what is told about it, what is refused."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from mast3r_engine.errors import OptionsError
from mast3r_engine.export import DEFAULT_OUTPUTS, FORMATS, write_artifacts
from tests.engine.exported_oracle import oracle_scene
from tests.engine.room_reconstruction import room_reconstruction


def test_the_default_outputs(tmp_path: Path) -> None:
    seen: list[float] = []
    written = write_artifacts(room_reconstruction(2), tmp_path / "made", on_progress=seen.append)
    assert [artifact.name for artifact in written] == list(DEFAULT_OUTPUTS) == ["scene.ply", "poses.json", "preview.png"]
    assert [artifact.media_type for artifact in written] == ["application/ply", "application/json", "image/png"]
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == sorted(DEFAULT_OUTPUTS)
    for artifact in written:
        content = (tmp_path / "made" / artifact.name).read_bytes()
        assert artifact.bytes == len(content) > 0
        assert artifact.sha256 == hashlib.sha256(content).hexdigest()
    assert seen == pytest.approx([1 / 3, 2 / 3, 1])


def test_the_same_scene_gives_the_same_files(tmp_path: Path) -> None:
    one = write_artifacts(room_reconstruction(3), tmp_path / "one")
    two = write_artifacts(room_reconstruction(3), tmp_path / "two")
    assert one == two


@pytest.mark.parametrize("name", sorted(set(FORMATS) - set(DEFAULT_OUTPUTS) - {"mesh.ply"}))
def test_every_format_is_the_same_bytes_again_and_leaves_no_litter(tmp_path: Path, name: str) -> None:
    one = write_artifacts(oracle_scene(), tmp_path / "one", [name])
    time.sleep(2.1 if name.endswith("z") else 0)  # longer than a zip's tick
    two = write_artifacts(oracle_scene(), tmp_path / "two", [name])
    assert one == two
    assert [path.name for path in (tmp_path / "one").iterdir()] == [name]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"mesh.ply", "images.zip"}))
def test_one_photograph_and_none(tmp_path: Path, name: str) -> None:
    (one,) = write_artifacts(room_reconstruction(1), tmp_path / "one", [name])
    assert one.bytes > 0
    told: list[str] = []
    nothing = room_reconstruction(2, component=[-1, -1])
    written = write_artifacts(nothing, tmp_path / "none", [name], on_impossible=lambda _, error: told.append(str(error)))
    of_no_camera = {"scene.ply", "poses.json", "preview.png", "depth_png.zip", "depth.npz"}
    assert (len(written) == 1) == (name in of_no_camera)
    assert told == ([] if name in of_no_camera else ["no photograph is registered: there are no cameras to export"])


def test_an_output_named_twice_is_written_once(tmp_path: Path) -> None:
    written = write_artifacts(room_reconstruction(1), tmp_path, ["poses.json", "poses.json"])
    assert [artifact.name for artifact in written] == ["poses.json"]


@pytest.mark.parametrize("name", ["scene.obj", "../scene.ply", ""])
def test_an_unknown_output_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionsError, match=r"known: scene\.ply, poses\.json, preview\.png"):
        write_artifacts(room_reconstruction(1), tmp_path, ["poses.json", name])
    assert list(tmp_path.iterdir()) == []
