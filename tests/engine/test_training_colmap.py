"""COLMAP models with depth maps as captures: the package's own exports come back, and what is unusable is counted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from m3r.main import app
from mast3r_engine.errors import TrainingError
from mast3r_engine.export import write_artifacts
from mast3r_engine.export.selection import exported_names
from mast3r_engine.training.batch import valid_depth
from mast3r_engine.training.captures.frames import read_capture
from mast3r_engine.training.captures.from_colmap import ColmapFolders, convert_colmap
from mast3r_engine.training.captures.sized import read_depth
from mast3r_engine.training.captures.source import CaptureSource
from tests.engine.exported_oracle import oracle_scene, unpack
from tests.engine.test_training_captures import check_projection


def workspace(folder: Path, model: str = "colmap.zip", kind: str = "npy") -> ColmapFolders:
    """Our own COLMAP export beside depth maps and photographs of its size."""
    scene = oracle_scene()
    write_artifacts(scene, folder, [model])
    sparse = unpack(folder / model) / "sparse" / "0"
    for name in ("images", "depth"):
        (folder / name).mkdir()
    for i, name in enumerate(exported_names(scene.names)):
        noise = np.random.default_rng(i).integers(0, 255, (300, 400, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "images" / name)
        depth = scene.depth[i].astype(np.float32)
        if kind == "npy":
            np.save(folder / "depth" / f"{name}.npy", depth)
        elif kind == "png":
            Image.fromarray((depth * 1000).round().astype(np.uint16)).save(folder / "depth" / f"{Path(name).stem}.png")
        else:
            head = f"{depth.shape[1]}&{depth.shape[0]}&1&".encode()
            (folder / "depth" / f"{name}.geometric.bin").write_bytes(head + depth.astype("<f4").tobytes())
    return ColmapFolders(sparse, folder / "images", folder / "depth")


@pytest.mark.parametrize(("model", "kind"), [("colmap.zip", "npy"), ("colmap_text.zip", "bin"), ("colmap.zip", "png")])
def test_our_own_export_comes_back(tmp_path: Path, model: str, kind: str) -> None:
    scene, out = oracle_scene(), tmp_path / "capture"
    names = exported_names(scene.names)
    assert convert_colmap(workspace(tmp_path, model, kind), out).frames == len(scene.names)
    frames = read_capture(out).frames
    assert sorted(frame.image.name for frame in frames) == sorted(names)
    for frame in frames:
        i = names.index(frame.image.name)
        np.testing.assert_allclose(frame.cam2world, scene.cam2world[i], atol=1e-9)
        np.testing.assert_allclose(frame.K, scene.intrinsics[i], atol=1e-9)
        depth, expected = read_depth(frame), scene.depth[i]
        assert depth.shape == (300, 400)
        known = np.isfinite(expected) & (expected > 0)
        assert np.unique(depth[depth > 0]).size <= np.unique(expected[known]).size
        assert np.median(depth[depth > 0]) == pytest.approx(np.median(expected[known]), rel=0.01)


def test_what_was_converted_can_be_trained_on(tmp_path: Path) -> None:
    out = tmp_path / "capture"
    convert_colmap(workspace(tmp_path), out, metric=True)
    batch = CaptureSource(out, 48, 64, matches=60).draw(4, 0, 0)
    check_projection(batch)
    assert bool(batch.metric.all())
    assert bool(valid_depth(batch.depth).any())
    assert batch.images.dtype == torch.float32


def test_what_cannot_be_used_is_left_out_with_its_reason(tmp_path: Path) -> None:
    folders = workspace(tmp_path)
    names = sorted(file.name for file in folders.photographs.iterdir())
    (folders.photographs / names[0]).write_bytes(b"broken")
    np.save(folders.depth / f"{names[1]}.npy", np.full((30, 40), np.nan))
    (tmp_path / "few").mkdir()
    found = convert_colmap(folders, tmp_path / "few" / "capture")
    assert found.frames == len(names) - 2
    assert sorted(found.skipped.values()) == [1, 1]
    assert any("knows no pixel" in reason for reason in found.skipped)
    assert any(f"photograph {names[0]} is missing or cannot be read" in reason for reason in found.skipped)
    shutil.rmtree(folders.depth)
    folders.depth.mkdir()
    with pytest.raises(TrainingError, match="no depth map of"):
        convert_colmap(folders, tmp_path / "none")
    assert not (tmp_path / "none" / "cameras.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"40&30&1&" + bytes(10), "no COLMAP map"), (b"what", "no COLMAP map"), (b"40&20&1&" + bytes(3200), "knows no pixel")],
)
def test_a_damaged_depth_map_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    folders = workspace(tmp_path, kind="bin")
    files = sorted(folders.depth.iterdir())
    files[0].write_bytes(content)
    assert any(message in reason for reason in convert_colmap(folders, tmp_path / "capture").skipped)


def test_a_lens_asks_for_undistorted_photographs(tmp_path: Path) -> None:
    folders = workspace(tmp_path, "colmap_text.zip")
    cameras = folders.model / "cameras.txt"
    cameras.write_text(cameras.read_text().replace("PINHOLE 400 300", "OPENCV 400 300").replace("\n", " 0 0 0 0\n"))
    lines = [line.removesuffix(" 0 0 0 0") if line.startswith("#") else line for line in cameras.read_text().splitlines()]
    cameras.write_text("\n".join(lines) + "\n")
    with pytest.raises(TrainingError, match="image_undistorter"):
        convert_colmap(folders, tmp_path / "capture")


def test_the_command_converts_and_names_a_folder_without_a_model(tmp_path: Path) -> None:
    folders, out = workspace(tmp_path), tmp_path / "capture"
    given = ["--images", str(folders.photographs), "--depth", str(folders.depth), "-o", str(out)]
    result = CliRunner().invoke(app, ["convert-colmap", str(folders.model), *given, "--metric"])
    assert result.exit_code == 0, result.output
    assert json.loads((out / "cameras.json").read_text())["metric"] is True
    refused = CliRunner().invoke(app, ["convert-colmap", str(folders.depth), *given])
    assert refused.exit_code == 1
    assert "holds no model" in refused.output
