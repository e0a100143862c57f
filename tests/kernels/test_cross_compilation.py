"""What every processor compiles of the ops is clean C++ for aarch64, every warning an error."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mast3r_kernels.native import ALIGNMENT_NORMAL_EQUATIONS, FLAGS, ROPE2D, NativeOp

COMPILER = "aarch64-linux-gnu-g++"


@pytest.mark.skipif(not shutil.which(COMPILER), reason=f"{COMPILER} is not installed")
@pytest.mark.parametrize("op", [ALIGNMENT_NORMAL_EQUATIONS, ROPE2D], ids=lambda op: op.name)  # reciprocal_match is run, too
def test_ops_compile_without_a_warning(op: NativeOp, tmp_path: Path) -> None:
    sources = [str(op.folder / unit.file) for unit in op.units if not unit.machines]
    command = [COMPILER, *FLAGS, "-Wall", "-Wextra", "-Werror", "-shared", *sources, "-o", str(tmp_path / "op.so")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
