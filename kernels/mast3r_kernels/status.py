"""How each op runs in this installation."""

from __future__ import annotations

from mast3r_kernels.native import KernelUnavailableError, OpStatus

REFERENCE_ONLY = ("rope2d",)


def status() -> list[OpStatus]:
    """One entry per op: compiled or not, and why not; loads what is built."""
    return [_reciprocal_match(), *(OpStatus(name, False, "runs in torch; it has no compiled kernel") for name in REFERENCE_ONLY)]


def _reciprocal_match() -> OpStatus:
    from mast3r_kernels.reciprocal_match.compiled import usable_paths

    try:
        return OpStatus("reciprocal_match", True, f"compiled; runs with {usable_paths()[0]}")
    except KernelUnavailableError as error:
        return OpStatus("reciprocal_match", False, str(error))
