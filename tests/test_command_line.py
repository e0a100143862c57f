"""The `m3r` command: help that teaches, answers in one line, no traceback for what a user may do wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from m3r.main import app
from mast3r_engine.checkpoints.packaged import PACKAGED, packaged_names

ROOT = Path(__file__).resolve().parents[1]
DESK = ROOT / "examples" / "desk"
COMMANDS = [
    "serve",
    "worker",
    "reconstruct",
    "submit",
    "demo",
    "train",
    "checkpoint info",
    "eval mapfree",
    "keys create",
    "keys list",
    "keys revoke",
]


def run(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "m3r", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert len(result.output) > 200
    if command not in ("worker", "demo"):
        assert re.search(r"m3r " + command.split()[0], result.output)


def test_serve_never_loads_torch_in_its_own_process() -> None:
    code = "import m3r.main, m3r.serve, services.api.app, sys; sys.exit('torch' in sys.modules or 'mast3r_engine' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0


def test_checkpoint_info_names_the_packaged_weights() -> None:
    result = run("checkpoint", "info", str(PACKAGED / packaged_names()[0]))
    assert result.returncode == 0, result.stderr
    assert "AsymmetricMASt3R" in result.stdout
    assert "Apache-2.0" in result.stdout


def test_checkpoint_info_refuses_text_in_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "weights.pth"
    wrong.write_text("not weights")
    result = run("checkpoint", "info", str(wrong))
    assert result.returncode == 1
    assert "weights.pth" in result.stderr
    assert "Traceback" not in result.stderr


def test_reconstruct_makes_a_cloud_cameras_and_a_picture_of_real_photographs(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for photo in sorted(DESK.glob("*.jpg"))[:3]:
        shutil.copy(photo, photos)
    result = run("reconstruct", str(photos), "-o", str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    assert "3 of 3 photographs registered" in result.stdout
    poses = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert [image["registered"] for image in poses["images"]] == [True] * 3
    assert (tmp_path / "out" / "scene.ply").stat().st_size > 10_000
    assert Image.open(tmp_path / "out" / "preview.png").size == (1600, 800)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["reconstruct", "no-such-folder"], "no-such-folder"),
        (["reconstruct", str(DESK), "--options", '{"spiral": 1}'], "spiral"),
        (["reconstruct", str(DESK), "--options", "{"], "JSON"),
        (["reconstruct", str(DESK), "--checkpoint", "no-such-weights"], "no-such-weights"),
        (["reconstruct", str(DESK), "--output", "scene.doc"], "scene.doc"),
        (["submit", str(DESK), "--url", "http://127.0.0.1:9"], "error"),
    ],
)
def test_mistakes_are_answered_without_a_traceback(arguments: list[str], word: str, tmp_path: Path) -> None:
    result = run(*arguments, "-o", str(tmp_path / "out"))
    assert result.returncode in (1, 2)
    assert word in result.stderr
    assert "Traceback" not in result.stderr
