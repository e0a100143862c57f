"""How each op runs in this installation."""

from __future__ import annotations

from typing import Literal

from mast3r_kernels import cuda
from mast3r_kernels.native import NATIVE_OPS, KernelUnavailableError, NativeOp, OpStatus, paths

Wanted = Literal["auto", "compiled", "cuda"]


def status() -> list[OpStatus]:
    """One entry per op: compiled or not, and why not; loads what is built."""
    return [_status(op) for op in NATIVE_OPS]


def cuda_status() -> list[OpStatus]:
    """The same for NVIDIA GPUs: whether each op's CUDA library is built and can be loaded. Says nothing about the GPU."""
    return [_cuda_status(op) for op in cuda.CUDA_OPS]


def require(wanted: Wanted) -> list[OpStatus]:
    """The ops' status on the CPU, or for "cuda" on a GPU, after making sure that all that was asked for can be had.

    "auto" asks for nothing: what is not compiled runs as reference. KernelUnavailableError names the ops that are missing, why,
    and for "cuda" a missing GPU.
    """
    found = cuda_status() if wanted == "cuda" else status()
    missing = [f"{op.name} ({op.reason})" for op in found if not op.compiled]
    if wanted == "cuda" and not _has_gpu():
        missing.insert(0, "a GPU (torch sees none)")
    if wanted != "auto" and missing:
        raise KernelUnavailableError(f"kernels {wanted!r} were asked for and are missing: {'; '.join(missing)}")
    return found


def one_line(found: list[OpStatus]) -> str:
    """For a log: which ops run compiled, with what, and why the others don't."""
    return "; ".join(f"{op.name}: {op.reason if op.compiled else f'reference ({op.reason})'}" for op in found)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _status(op: NativeOp) -> OpStatus:
    try:
        return OpStatus(op.name, True, f"compiled; runs with {paths(op)[0]}")
    except KernelUnavailableError as error:
        return OpStatus(op.name, False, str(error))


def _cuda_status(op: cuda.CudaOp) -> OpStatus:
    try:
        cuda.load(op)
    except KernelUnavailableError as error:
        return OpStatus(op.name, False, str(error))
    return OpStatus(op.name, True, "compiled; runs with cuda")
