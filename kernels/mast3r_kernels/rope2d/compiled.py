"""The op compiled, called through its C interface (rope2d.cpp)."""

from __future__ import annotations

from ctypes import c_int32, c_int64, c_void_p

import torch
from torch import Tensor

from mast3r_kernels.native import ROPE2D, KernelUnavailableError, load, paths

NO_PATH = 1  # what the C interface answers
DTYPES = (torch.float32, torch.bfloat16)


def usable_paths() -> tuple[str, ...]:
    """Instruction sets this processor can run, the fastest first; KernelUnavailableError when nothing is built."""
    return paths(ROPE2D)


def fits(
    x: Tensor,  # (..., S, C)
) -> bool:
    """Whether the compiled op can rotate this tensor in place: a plain CPU tensor whose vectors lie in pieces of their own."""
    if type(x) is not Tensor or x.device.type != "cpu" or x.dtype not in DTYPES:
        return False
    repeated = any(stride == 0 and size > 1 for size, stride in zip(x.shape, x.stride(), strict=True))
    return x.stride(-1) == 1 and not repeated


def rope2d_compiled(
    x: Tensor,  # (..., S, C) that `fits`; no two numbers share memory
    cos: Tensor,  # (S, C/2) float32
    sin: Tensor,  # (S, C/2) float32
    path: str,  # one of usable_paths(), or empty for the fastest
    threads: int,
) -> None:
    """Rotate in place; see `rope2d`."""
    library = load(ROPE2D)
    outer = x.ndim - 2
    dimensions = c_int64 * max(outer, 1)
    cos, sin = cos.contiguous(), sin.contiguous()  # named, so that they live as long as the call
    why = library.rope2d(
        *(c_void_p(x.data_ptr()), c_int32(x.element_size())),
        *(c_int64(outer), dimensions(*x.shape[:-2]), dimensions(*x.stride()[:-2])),
        *(c_int64(x.shape[-2]), c_int64(x.stride(-2)), c_int64(x.shape[-1])),
        *(c_void_p(cos.data_ptr()), c_void_p(sin.data_ptr())),
        *(path.encode(), c_int32(max(1, threads))),
    )
    if why == NO_PATH:
        raise KernelUnavailableError(f"rope2d: no path {path!r} on this processor; it has {', '.join(usable_paths())}")
    if why:
        raise MemoryError("rope2d: no memory for threads")
