"""Which ops have compiled kernels, where their libraries lie, and loading them when first needed.

A library's file name holds a digest of the sources and flags it was built from, so that a stale one is never loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import threading
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parent
BUILD_COMMAND = "python -m mast3r_kernels.build"
ANY_DIGEST = "[0-9a-f]" * 12  # the libraries for CUDA are named otherwise

FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-pthread",
)
AVX512 = ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl")


@dataclass(frozen=True)
class Unit:
    """One C++ file, compiled on its own with flags of its own; `machines` empty means all."""

    file: str
    flags: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()


@dataclass(frozen=True)
class NativeOp:
    """An op with a compiled kernel: its name is that of its folder and of its library."""

    name: str
    units: tuple[Unit, ...]

    @property
    def folder(self) -> Path:
        return PACKAGE / self.name

    def units_here(self) -> tuple[Unit, ...]:
        """The files that this kind of processor compiles."""
        return tuple(unit for unit in self.units if not unit.machines or platform.machine() in unit.machines)


@dataclass(frozen=True)
class OpStatus:
    """How an op runs in this installation; `reason` says why it is not compiled, or with which instruction set it is."""

    name: str
    compiled: bool
    reason: str


class KernelUnavailableError(RuntimeError):
    """A compiled kernel was asked for and cannot be had; the message says why and what to do."""


X86 = ("x86_64", "AMD64")
RECIPROCAL_MATCH = NativeOp(
    "reciprocal_match",
    (
        Unit("reciprocal_match.cpp"),
        Unit("nearest.cpp"),
        Unit("packed_set.cpp"),
        Unit("path_generic.cpp"),
        Unit("path_avx2.cpp", ("-mavx2", "-mfma"), X86),
        Unit("path_avx512.cpp", AVX512, X86),
        Unit("path_avx512_vnni.cpp", (*AVX512, "-mavx512vnni"), X86),
    ),
)
ALIGNMENT_NORMAL_EQUATIONS = NativeOp(
    "alignment_normal_equations",
    (
        Unit("alignment_normal_equations.cpp"),
        Unit("path_generic.cpp"),
        Unit("path_avx2.cpp", ("-mavx2", "-mfma"), X86),
        Unit("path_avx512.cpp", AVX512, X86),
    ),
)
UNFUSED = "-ffp-contract=off"  # rounds as torch does
ROPE2D = NativeOp(
    "rope2d",
    (Unit("rope2d.cpp"), Unit("path_generic.cpp", (UNFUSED,)), Unit("path_avx2.cpp", ("-mavx2", UNFUSED), X86)),
)
NATIVE_OPS = (RECIPROCAL_MATCH, ALIGNMENT_NORMAL_EQUATIONS, ROPE2D)

_loading = threading.Lock()
_loaded: dict[str, ctypes.CDLL] = {}


def digest(op: NativeOp) -> str:
    """Names the sources and flags of a library."""
    known = hashlib.sha256(repr((FLAGS, op.units_here())).encode())
    for source in sorted([*op.folder.glob("*.cpp"), *op.folder.glob("*.h"), *PACKAGE.glob("*.h")]):
        known.update(source.name.encode() + source.read_bytes())
    return known.hexdigest()[:12]


def library_folders(op: NativeOp) -> tuple[Path, Path]:
    """Where a library may lie: beside its sources, or where those cannot be written in the user's cache."""
    return op.folder, cache_folder()


def cache_folder() -> Path:
    """Of this user."""
    return Path.home() / ".cache" / "mast3r_kernels"


def library_name(op: NativeOp) -> str:
    """File name of the library that the present sources give."""
    return f"{op.name}.{digest(op)}.so"


def load(op: NativeOp) -> ctypes.CDLL:
    """Load an op's library, once; KernelUnavailableError when it was not built here or cannot be loaded."""
    with _loading:
        if op.name not in _loaded:
            _loaded[op.name] = _load(op)
        return _loaded[op.name]


def paths(op: NativeOp) -> tuple[str, ...]:
    """Instruction sets this processor can run the op with, the fastest first; KernelUnavailableError when it is not built."""
    names = ctypes.create_string_buffer(256)
    write_names = getattr(load(op), f"{op.name}_paths")
    write_names.restype = None
    write_names(names, ctypes.c_int64(len(names)))
    return tuple(names.value.decode().split())


def _load(op: NativeOp) -> ctypes.CDLL:
    name = library_name(op)
    for folder in library_folders(op):
        if not (folder / name).exists():
            continue
        try:
            return ctypes.CDLL(str(folder / name))
        except OSError as error:
            raise KernelUnavailableError(f"{op.name}: its library cannot be loaded ({error}); run: {BUILD_COMMAND}") from error
    stale = any(True for folder in library_folders(op) for _ in folder.glob(f"{op.name}.{ANY_DIGEST}.so"))
    reason = "its library was built from other sources" if stale else "it was not built"
    raise KernelUnavailableError(f"{op.name}: {reason}; run: {BUILD_COMMAND}")
