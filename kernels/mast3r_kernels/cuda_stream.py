"""Where the CUDA ops run: on the device and the current stream of the tensors they are given."""

from __future__ import annotations

from ctypes import c_int32, c_void_p

import torch
from torch import Tensor


def device_and_stream(x: Tensor) -> tuple[c_int32, c_void_p]:
    """The last two arguments of the C interfaces. A tensor on the CPU (the tests' stand-in) has device 0 and no stream."""
    if x.device.type != "cuda":
        return c_int32(0), c_void_p(None)
    return c_int32(x.device.index or 0), c_void_p(torch.cuda.current_stream(x.device).cuda_stream)
