"""Compiles the kernels with an ordinary C++ compiler: `python -m mast3r_kernels.build`, and with nvcc when given `--cuda`."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from mast3r_kernels import cuda
from mast3r_kernels.native import (
    ANY_DIGEST,
    FLAGS,
    NATIVE_OPS,
    KernelUnavailableError,
    NativeOp,
    Unit,
    cache_folder,
    library_name,
)

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
        _install(linked, target, f"{op.name}.{ANY_DIGEST}.so")
    return target


def build_cuda(op: cuda.CudaOp, folder: Path | None = None) -> Path:
    """Build an op's library for NVIDIA GPUs; see `build`. BuildError when there is no nvcc or it fails."""
    target = (folder or _writable_folder(op)) / cuda.library_name(op)
    if target.exists():
        return target
    with tempfile.TemporaryDirectory() as scratch:
        linked = Path(scratch) / target.name
        try:
            _run(cuda.compile_command(op, linked))
        except KernelUnavailableError as error:
            raise BuildError(str(error)) from error
        _install(linked, target, f"{op.name}.cuda.{ANY_DIGEST}.so")
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """Build every op; the exit status is 1 when one could not be built."""
    parser = argparse.ArgumentParser(prog="python -m mast3r_kernels.build", description=__doc__)
    parser.add_argument("--compiler", help=f"C++ compiler; by default the first found of {', '.join(COMPILERS)}")
    parser.add_argument("--folder", type=Path, help="where to put the libraries; by default beside their sources")
    parser.add_argument("--cuda", action="store_true", help="build for NVIDIA GPUs, too; needs nvcc")
    options = parser.parse_args(arguments)
    wanted: list[tuple[str, Callable[[], Path]]] = [
        (op.name, partial(build, op, options.compiler, options.folder)) for op in NATIVE_OPS
    ]
    if options.cuda:
        wanted += [(f"{op.name} (CUDA)", partial(build_cuda, op, options.folder)) for op in cuda.CUDA_OPS]
    return max([_report(name, step) for name, step in wanted])


def _report(name: str, step: Callable[[], Path]) -> int:
    """Print where a library went, or why there is none; 1 in that case."""
    try:
        print(f"{name}: {step()}")
    except BuildError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0


def _writable_folder(op: NativeOp | cuda.CudaOp) -> Path:
    beside, cache = op.folder, cache_folder()
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


def _install(linked: Path, target: Path, older: str) -> None:
    """Put the library in place in one step, and take away those of older sources."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_suffix(f".{os.getpid()}.tmp")
    shutil.copyfile(linked, beside)
    beside.replace(target)
    for other in target.parent.glob(older):
        if other != target:
            other.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
