"""Programs for another processor: an op's sources and a driver, cross-compiled for aarch64 (NEON) and run under qemu."""

from __future__ import annotations

import functools
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from mast3r_kernels.native import FLAGS, NativeOp

COMPILER = "aarch64-linux-gnu-g++"
EMULATOR = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")

needs_aarch64 = [
    pytest.mark.skipif(not shutil.which(COMPILER), reason=f"{COMPILER} is not installed"),
    pytest.mark.skipif(not EMULATOR, reason="qemu-aarch64 is not installed"),
    pytest.mark.skipif(platform.machine() == "aarch64", reason="this is aarch64: the other tests run it"),
]


@functools.cache
def program(op: NativeOp) -> Path:
    """The op with its driver (`<op>_driver.cpp` beside this file); every warning is an error."""
    folder = Path(tempfile.mkdtemp())
    driver = Path(__file__).with_name(f"{op.name}_driver.cpp")
    objects = [_compiled(op.folder / unit.file, unit.flags, folder) for unit in op.units if not unit.machines]
    _call([COMPILER, "-static", "-pthread", *objects, _compiled(driver, (), folder), "-o", str(folder / op.name)])
    return folder / op.name


def _compiled(source: Path, flags: tuple[str, ...], folder: Path) -> str:
    target = folder / f"{source.name}.o"
    _call([COMPILER, *FLAGS, *flags, "-Wall", "-Wextra", "-Werror", "-c", str(source), "-o", str(target)])
    return str(target)


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run(op: NativeOp, sent: bytes) -> bytes:
    """What the program writes when it reads `sent`."""
    return subprocess.run([str(EMULATOR), str(program(op))], input=sent, capture_output=True, check=True).stdout
