"""The ops' CUDA libraries: which there are, building them with nvcc when asked to, loading them when first needed.

They are built apart from the others (`python -m mast3r_kernels.build --cuda`), link CUDA's runtime statically and share torch's
context of a device. A library's file name holds a digest of the sources and flags it was built from.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mast3r_kernels import native
from mast3r_kernels.native import KernelUnavailableError

BUILD_COMMAND = "python -m mast3r_kernels.build --cuda"
ARCHITECTURES = ("80", "90")  # A100, H100; a newer processor compiles the intermediate code of the last when it first runs
FLAGS = ("-std=c++17", "-O3", "-shared", "-cudart", "static", "-Xcompiler", "-fPIC,-fvisibility=hidden")


@dataclass(frozen=True)
class CudaOp:
    """An op with a CUDA source of its own name; its folder is that of the op."""

    name: str

    @property
    def folder(self) -> Path:
        return native.PACKAGE / self.name

    @property
    def source(self) -> Path:
        return self.folder / f"{self.name}.cu"


RECIPROCAL_MATCH = CudaOp("reciprocal_match")
ALIGNMENT_NORMAL_EQUATIONS = CudaOp("alignment_normal_equations")
ROPE2D = CudaOp("rope2d")
CUDA_OPS = (RECIPROCAL_MATCH, ALIGNMENT_NORMAL_EQUATIONS, ROPE2D)

_loaded: dict[str, ctypes.CDLL] = {}


def library_name(op: CudaOp) -> str:
    """File name of the library that the present sources give."""
    known = hashlib.sha256(repr((FLAGS, ARCHITECTURES)).encode())
    for source in sorted([*op.folder.glob("*.cu*"), *op.folder.glob("*.h"), *native.PACKAGE.glob("*.cuh")]):
        known.update(source.name.encode() + source.read_bytes())
    return f"{op.name}.cuda.{known.hexdigest()[:12]}.so"


def compile_command(op: CudaOp, target: Path, architectures: Sequence[str] = ARCHITECTURES) -> list[str]:
    """How nvcc is called: machine code for each architecture, and intermediate code of the last."""
    codes = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in architectures]
    last = f"-gencode=arch=compute_{architectures[-1]},code=compute_{architectures[-1]}"
    return [find_nvcc(), *FLAGS, *codes, last, str(op.source), "-o", str(target)]


def find_nvcc() -> str:
    """KernelUnavailableError when CUDA's compiler is not on the path."""
    if found := shutil.which("nvcc"):
        return found
    raise KernelUnavailableError("nvcc is not on the path; install the CUDA toolkit, or do without --cuda")


def load(op: CudaOp) -> ctypes.CDLL:
    """Load an op's CUDA library, once; KernelUnavailableError when it was not built or cannot be loaded."""
    if op.name not in _loaded:
        _loaded[op.name] = _load(op)
    return _loaded[op.name]


def is_built(op: CudaOp) -> bool:
    """Whether the library can be loaded."""
    try:
        load(op)
    except KernelUnavailableError:
        return False
    return True


def check(library: ctypes.CDLL, op: CudaOp, error: int) -> None:
    """RuntimeError that names the op when a call answered with CUDA's error number.

    After an error other than memory the process's CUDA context is of no more use: it must end.
    """
    if error == 0:
        return
    say = getattr(library, f"{op.name}_cuda_error")
    say.restype = ctypes.c_char_p
    reason = say(ctypes.c_int32(error)).decode()
    if error == OUT_OF_MEMORY:
        raise MemoryError(f"{op.name}: CUDA says {reason}")
    raise RuntimeError(f"{op.name}: CUDA error {error}, {reason}")


OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation


def _load(op: CudaOp) -> ctypes.CDLL:
    name = library_name(op)
    folders = (op.folder, native.cache_folder())
    for folder in folders:
        if (folder / name).exists():
            try:
                return ctypes.CDLL(str(folder / name))
            except OSError as error:
                raise KernelUnavailableError(
                    f"{op.name}: its CUDA library cannot be loaded ({error}); run: {BUILD_COMMAND}"
                ) from error
    stale = any(True for folder in folders for _ in folder.glob(f"{op.name}.cuda.*.so"))
    reason = "its CUDA library was built from other sources" if stale else "it was not built for CUDA"
    raise KernelUnavailableError(f"{op.name}: {reason}; run: {BUILD_COMMAND}")
