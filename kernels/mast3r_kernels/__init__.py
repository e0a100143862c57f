"""Operations of the engine that are worth compiling: one folder per op, a shipped reference beside each kernel."""

from mast3r_kernels.native import KernelUnavailableError, OpStatus
from mast3r_kernels.status import status

__all__ = ["KernelUnavailableError", "OpStatus", "status"]
