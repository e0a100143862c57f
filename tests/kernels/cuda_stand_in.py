"""The CUDA sources compiled by an ordinary compiler over the stand-in runtime of `cuda_on_cpu`, to be run on this machine."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path

from mast3r_kernels.cuda import CudaOp

STAND_IN = Path(__file__).parent / "cuda_on_cpu"


@functools.cache
def stand_in_library(op: CudaOp) -> ctypes.CDLL:
    """The op's own source; only nvcc, the runtime and the processor are exchanged. Warnings are errors."""
    folder = tempfile.mkdtemp()  # lives as long as the library is mapped; the system clears it
    target = Path(folder) / f"{op.name}.so"
    flags = ["-std=c++17", "-O2", "-fPIC", "-shared", "-ffp-contract=off", "-mf16c", "-Wall", "-Werror"]
    subprocess.run(["g++", *flags, "-I", str(STAND_IN), "-x", "c++", str(op.source), "-o", str(target)], check=True)
    return ctypes.CDLL(str(target))
