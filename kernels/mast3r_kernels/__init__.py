"""Operations of the engine that are worth compiling: one folder per op, a shipped reference beside each kernel."""

from mast3r_kernels.native import KernelUnavailableError, OpStatus
from mast3r_kernels.status import cuda_status, one_line, require, status

__all__ = ["KernelUnavailableError", "OpStatus", "cuda_status", "one_line", "require", "status"]
