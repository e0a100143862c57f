"""What a set of descriptors must be."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST = 1e15  # larger components could overflow float32 products


class UnusableDescriptorError(ValueError):
    """A descriptor holds NaN, infinity or a component above 1e15; `which` set ("a" or "b") and which `row` of it."""

    def __init__(self, which: str, row: int) -> None:
        super().__init__(f"reciprocal_match: row {row} of {which} holds NaN, infinity or a component above {LARGEST:g}")
        self.which = which
        self.row = row

    def __reduce__(self) -> tuple[type[UnusableDescriptorError], tuple[str, int]]:
        return UnusableDescriptorError, (self.which, self.row)


def check_shapes(
    a: Tensor,  # (N, D)
    b: Tensor,  # (M, D)
) -> None:
    """ValueError unless both are float32, two-dimensional, of the same number of components and on one device."""
    for name, descriptors in (("a", a), ("b", b)):
        if descriptors.ndim != 2 or descriptors.dtype != torch.float32 or not descriptors.shape[1]:
            raise ValueError(
                f"reciprocal_match: {name} is {descriptors.dtype}, {tuple(descriptors.shape)}; it must be float32, (N, D)"
            )
    if a.shape[1] != b.shape[1] or a.device != b.device:
        raise ValueError(
            f"reciprocal_match: a is {tuple(a.shape)} on {a.device} and b {tuple(b.shape)} on {b.device};"
            " both must have the same number of components and the same device"
        )


def check_numbers(
    descriptors: Tensor,  # (N, D)
    which: str,
) -> None:
    """UnusableDescriptorError for the first row that is not finite or has a component above 1e15."""
    usable = (descriptors.abs() <= LARGEST).all(1)  # false for NaN
    if not bool(usable.all()):
        raise UnusableDescriptorError(which, int(torch.nonzero(~usable)[0]))
