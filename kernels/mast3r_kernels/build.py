"""Compiles the kernels with an ordinary C++ compiler: `python -m mast3r_kernels.build`."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mast3r_kernels.native import FLAGS, NATIVE_OPS, NativeOp, Unit, library_folders, library_name

COMPILERS = ("g++", "c++", "clang++")


class BuildError(RuntimeError):
    """A kernel could not be built; the message holds what the compiler said."""


def build(op: NativeOp, compiler: str | None = None, folder: Path | None = None) -> Path:
    """Build an op's library and return its path; nothing is done when it is there already.

    `folder`: where to put it; by default beside the sources, or in the user's cache where those cannot be written.
    BuildError when there is no compiler or it fails.
    """
    target = (folder or _writable_folder(op)) / library_name(op)
    if target.exists():
        return target
    command = compiler or _find_compiler()
    with tempfile.TemporaryDirectory() as scratch:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(lambda unit: _compile(command, op, unit, Path(scratch)), op.units_here()))
        linked = Path(scratch) / target.name
        _run([command, "-shared", "-pthread", "-o", str(linked), *map(str, objects)])
        _install(linked, target, op)
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """Build every op; the exit status is 1 when one could not be built."""
    parser = argparse.ArgumentParser(prog="python -m mast3r_kernels.build", description=__doc__)
    parser.add_argument("--compiler", help=f"C++ compiler; by default the first found of {', '.join(COMPILERS)}")
    parser.add_argument("--folder", type=Path, help="where to put the libraries; by default beside their sources")
    options = parser.parse_args(arguments)
    failed = 0
    for op in NATIVE_OPS:
        try:
            print(f"{op.name}: {build(op, options.compiler, options.folder)}")
        except BuildError as error:
            print(f"{op.name}: {error}", file=sys.stderr)
            failed = 1
    return failed


def _writable_folder(op: NativeOp) -> Path:
    beside, cache = library_folders(op)
    if os.access(beside, os.W_OK):
        return beside
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _find_compiler() -> str:
    for name in COMPILERS:
        if found := shutil.which(name):
            return found
    raise BuildError(f"no C++ compiler among {', '.join(COMPILERS)}; install one (Debian: apt-get install g++)")


def _compile(compiler: str, op: NativeOp, unit: Unit, scratch: Path) -> Path:
    target = scratch / (unit.file + ".o")
    _run([compiler, *FLAGS, *unit.flags, "-c", str(op.folder / unit.file), "-o", str(target)])
    return target


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run ({error})") from error
    if done.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")


def _install(linked: Path, target: Path, op: NativeOp) -> None:
    """Put the library in place in one step, and take away those of older sources."""
    beside = target.with_suffix(f".{os.getpid()}.tmp")
    shutil.copyfile(linked, beside)
    beside.replace(target)
    for other in target.parent.glob(f"{op.name}.*.so"):
        if other != target:
            other.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
