"""The outputs over HTTP against the engine's: the same names, the same defaults; what the worker and the command make of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from m3r import main
from m3r.reconstruct import reconstruct_folder
from mast3r_engine.evaluation.oracle import grey_image
from mast3r_engine.export import DEFAULT_OUTPUTS, FORMATS
from services.adapters.settings import Settings
from services.contract.outputs import ALWAYS, OUTPUTS
from services.worker.engine import EngineJob, EngineResult, Photo
from tests.services.oracle_engine import HEIGHT, VIEWS, WIDTH, TrainedOracle, load_engine


def grey_photos(folder: Path) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"photo {k}.png" for k in range(VIEWS)]
    for k, path in enumerate(paths):
        Image.fromarray(grey_image(k, HEIGHT, WIDTH)).save(path)
    return paths


def run(folder: Path, outputs: list[str]) -> EngineResult:
    photos = [Photo(path.name, path) for path in grey_photos(folder / "photos")]
    job = EngineJob(photos, {}, outputs, strict_images=True, folder=folder / "results")
    return load_engine(Settings()).run(job, lambda stage, fraction: None)


def test_every_format_can_be_asked_for_and_nothing_else() -> None:
    assert tuple(FORMATS) == OUTPUTS
    assert DEFAULT_OUTPUTS == ALWAYS


def test_the_command_names_them_all() -> None:
    commands = typer.main.get_command(main.app).commands  # type: ignore[attr-defined]
    (told,) = [option.help for option in commands["reconstruct"].params if option.name == "outputs"]
    assert [name for name in OUTPUTS if name not in ALWAYS and name not in told] == []


def test_a_job_makes_what_it_asked_for(tmp_path: Path) -> None:
    wanted = ["colmap.zip", "transforms.json", "images.zip", "scene.ply"]
    result = run(tmp_path, wanted)
    assert [file.name for file in result.files] == [*ALWAYS, *wanted[:3]]
    assert [file.media_type for file in result.files] == [FORMATS[file.name].media_type for file in result.files]
    assert all(file.path.stat().st_size > 0 for file in result.files)
    assert list(result.warnings) == []


def test_an_output_that_cannot_be_made_is_a_warning_and_the_rest_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    result = run(tmp_path, ["mesh.ply", "scene.glb"])
    assert [file.name for file in result.files] == [*ALWAYS, "scene.glb"]
    (warning,) = result.warnings
    assert warning.startswith("mesh.ply was not made: mesh.ply needs open3d")


def command(folder: Path, monkeypatch: pytest.MonkeyPatch, outputs: list[str]) -> None:
    from mast3r_engine import checkpoints

    oracle = load_engine(Settings())._net
    assert isinstance(oracle, TrainedOracle)
    monkeypatch.setattr(checkpoints, "load_default_network", lambda device: oracle)
    reconstruct_folder(folder / "photos", folder / "out", None, "{}", outputs, "cpu")


def test_the_command_writes_the_default_and_what_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grey_photos(tmp_path / "photos")
    command(tmp_path, monkeypatch, ["trajectory.txt", "depth.npz"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*ALWAYS, "trajectory.txt", "depth.npz"])
    assert np.loadtxt(tmp_path / "out" / "trajectory.txt").shape == (VIEWS, 8)


def test_the_command_refuses_an_unknown_output_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grey_photos(tmp_path / "photos")
    with pytest.raises(typer.Exit):
        command(tmp_path, monkeypatch, ["scene.glb", "hologram"])
    assert not (tmp_path / "out").exists()
    told = capsys.readouterr().err
    assert "unknown output 'hologram'" in told
    assert all(name in told for name in OUTPUTS)


def test_the_command_fails_when_an_output_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grey_photos(tmp_path / "photos")
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(typer.Exit) as end:
        command(tmp_path, monkeypatch, ["mesh.ply"])
    assert end.value.exit_code == 1
    assert "mesh.ply was not made" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(ALWAYS)
