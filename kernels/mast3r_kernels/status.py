"""How each op runs in this installation."""

from __future__ import annotations

from mast3r_kernels.native import NATIVE_OPS, KernelUnavailableError, NativeOp, OpStatus, paths


def status() -> list[OpStatus]:
    """One entry per op: compiled or not, and why not; loads what is built."""
    return [_status(op) for op in NATIVE_OPS]


def _status(op: NativeOp) -> OpStatus:
    try:
        return OpStatus(op.name, True, f"compiled; runs with {paths(op)[0]}")
    except KernelUnavailableError as error:
        return OpStatus(op.name, False, str(error))
