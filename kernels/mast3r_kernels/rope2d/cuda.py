"""The op on NVIDIA GPUs, called through its C interface (rope2d.cu)."""

from __future__ import annotations

from ctypes import CDLL, c_int32, c_int64, c_void_p

import torch
from torch import Tensor

from mast3r_kernels import cuda
from mast3r_kernels.cuda_stream import device_and_stream

DTYPES = (torch.float32, torch.bfloat16)
MOST_OUTER = 6


def fits(
    x: Tensor,  # (..., S, C)
) -> bool:
    """Whether the CUDA op can rotate this tensor in place: its vectors lie in pieces of their own, on a GPU."""
    if type(x) is not Tensor or x.device.type != "cuda" or x.dtype not in DTYPES or x.ndim - 2 > MOST_OUTER:
        return False
    repeated = any(stride == 0 and size > 1 for size, stride in zip(x.shape, x.stride(), strict=True))
    return x.stride(-1) == 1 and not repeated


def rope2d_cuda(
    x: Tensor,  # (..., S, C) that `fits`; no two numbers share memory
    cos: Tensor,  # (S, C/2) float32 on the same device
    sin: Tensor,  # (S, C/2) float32 on the same device
    library: CDLL,
) -> None:
    """Rotate in place on the current stream; see `rope2d`."""
    outer = x.ndim - 2
    dimensions = c_int64 * max(outer, 1)
    cos, sin = cos.contiguous(), sin.contiguous()
    error = library.rope2d_cuda(
        *(c_void_p(x.data_ptr()), c_int32(x.element_size())),
        *(c_int64(outer), dimensions(*x.shape[:-2]), dimensions(*x.stride()[:-2])),
        *(c_int64(x.shape[-2]), c_int64(x.stride(-2)), c_int64(x.shape[-1])),
        *(c_void_p(cos.data_ptr()), c_void_p(sin.data_ptr())),
        *device_and_stream(x),
    )
    cuda.check(library, cuda.ROPE2D, error)
