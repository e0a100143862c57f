"""The wheel: built from the tracked sources, named for the platform, and its kernels run from where it is unpacked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mast3r_kernels.native import NATIVE_OPS, library_name

ROOT = Path(__file__).parents[2]
NEEDED = (
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
    "NOTICE",
    "kernels",
    "clients",
    "m3r",
    "mast3r_engine",
    "services",
)


def build_wheel(folder: Path, **environment: str) -> Path:
    for name in NEEDED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
        else:
            (folder / "source").mkdir(exist_ok=True, parents=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", ".", "-w", str(folder)]
    environment = {**os.environ, **environment}
    done = subprocess.run(command, cwd=folder / "source", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def unpacked_status(wheel: Path, folder: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    code = "import mast3r_kernels as k; print(k.__file__, k.one_line(k.status()))"
    # The user's cache of kernels is not this wheel's.
    environment = {**os.environ, "PYTHONPATH": str(folder), "HOME": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(folder))
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="the platform's tag is looked at")
def test_a_wheel_carries_its_kernels_and_says_for_which_platform(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    assert "-py3-none-linux_" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name for name in names if name.endswith(".so")} == {
        f"mast3r_kernels/{op.name}/{library_name(op)}" for op in NATIVE_OPS
    }
    assert "m3r_client/__init__.py" in names
    assert unpacked_status(wheel, tmp_path / "unpacked").count("compiled; runs with") == len(NATIVE_OPS)


def test_without_a_compiler_the_wheel_carries_the_references(tmp_path: Path) -> None:
    python_alone = tmp_path / "bin"
    python_alone.mkdir()
    wheel = build_wheel(tmp_path, PATH=str(python_alone))
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "reciprocal_match: reference" in unpacked_status(wheel, tmp_path / "unpacked")
