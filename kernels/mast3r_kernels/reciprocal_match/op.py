"""The public functions of the op: they check their arguments and run the implementation at hand."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mast3r_kernels.reciprocal_match.reference import ReferenceSearch

MAX_ITERATIONS = 10
LARGEST = 1e15  # larger components could overflow float32 products


class UnusableDescriptorError(ValueError):
    """A descriptor holds NaN, infinity or a component above 1e15; `which` set ("a" or "b") and which `row` of it."""

    def __init__(self, which: str, row: int) -> None:
        super().__init__(f"reciprocal_match: row {row} of {which} holds NaN, infinity or a component above {LARGEST:g}")
        self.which = which
        self.row = row

    def __reduce__(self) -> tuple[type[UnusableDescriptorError], tuple[str, int]]:
        return UnusableDescriptorError, (self.which, self.row)


class Search(Protocol):
    """What an implementation offers; see `ReciprocalSearch`."""

    def nearest(self, indices: Tensor, from_b: bool) -> Tensor: ...

    def walk(self, starts: Tensor, from_b: bool, max_iterations: int) -> tuple[Tensor, Tensor]: ...


class ReciprocalSearch:
    """Nearest neighbours between two sets of descriptors by inner product, exact, ties to the lowest index.

    The rule of arithmetic stands in `reference.py`. What was searched once is remembered, so that walks that meet share their
    way. UnusableDescriptorError for NaN, infinity or components above 1e15; ValueError when the sets do not fit each other.
    """

    def __init__(
        self,
        a: Tensor,  # (N, D) float32, any strides
        b: Tensor,  # (M, D) float32, any strides
    ) -> None:
        check_descriptors(a, "a")
        check_descriptors(b, "b")
        if a.shape[1] != b.shape[1] or a.device != b.device:
            raise ValueError(
                f"reciprocal_match: a is {tuple(a.shape)} on {a.device} and b {tuple(b.shape)} on {b.device};"
                " both must have the same number of components and the same device"
            )
        self._sizes = (len(a), len(b))
        self._search: Search = ReferenceSearch(a, b)

    def nearest(
        self,
        indices: Tensor,  # (n,) int64 into a, or into b with `from_b`
        from_b: bool = False,
    ) -> Tensor:  # (n,) int64 into the other set
        """Nearest in b of members of a, or with `from_b` nearest in a of members of b."""
        self._check_indices(indices, from_b)
        if len(indices) and not self._sizes[not from_b]:
            raise ValueError(f"reciprocal_match: {'a' if from_b else 'b'} is empty; there is no nearest")
        return self._search.nearest(indices, from_b)

    def walk(
        self,
        starts: Tensor,  # (n,) int64 into a, or into b with `from_b`
        from_b: bool = False,
        max_iterations: int = MAX_ITERATIONS,
    ) -> tuple[Tensor, Tensor]:  # (m,) int64 into a, (m,) int64 into b; in no particular order, pairs may repeat
        """Fast reciprocal matching: from each start to the nearest and back, until a pair is mutual.

        Walks that are not at an end after `max_iterations` round trips are dropped.
        """
        self._check_indices(starts, from_b)
        if not all(self._sizes):
            starts = starts[:0]
        here, there = self._search.walk(torch.unique(starts), from_b, max_iterations)
        return (there, here) if from_b else (here, there)

    def _check_indices(self, indices: Tensor, from_b: bool) -> None:
        size = self._sizes[from_b]
        if indices.dtype != torch.int64 or indices.ndim != 1:
            raise ValueError(f"reciprocal_match: indices are {indices.dtype}, {tuple(indices.shape)}; they must be int64, (n,)")
        if len(indices) and not (int(indices.min()) >= 0 and int(indices.max()) < size):
            raise ValueError(f"reciprocal_match: indices run to {int(indices.max())}; they must be 0 to {size - 1}")


def nearest(
    queries: Tensor,  # (n, D) float32
    database: Tensor,  # (M, D) float32
) -> Tensor:  # (n,) int64
    """Index of the database row with the greatest inner product, the lowest of equals."""
    return ReciprocalSearch(queries, database).nearest(torch.arange(len(queries), device=queries.device))


def reciprocal_match(
    a: Tensor,  # (N, D) float32
    b: Tensor,  # (M, D) float32
    starts: Tensor,  # (n,) int64 into a
    max_iterations: int = MAX_ITERATIONS,
) -> tuple[Tensor, Tensor]:  # (m,) int64 into a, (m,) int64 into b
    """Mutual nearest neighbours reached from `starts`; see `ReciprocalSearch.walk`."""
    return ReciprocalSearch(a, b).walk(starts, max_iterations=max_iterations)


def check_descriptors(
    descriptors: Tensor,  # (N, D)
    name: str,
) -> None:
    """ValueError unless float32, (N, D); UnusableDescriptorError for the first row that is not finite or above 1e15."""
    if descriptors.ndim != 2 or descriptors.dtype != torch.float32 or not descriptors.shape[1]:
        raise ValueError(
            f"reciprocal_match: {name} is {descriptors.dtype}, {tuple(descriptors.shape)}; it must be float32, (N, D)"
        )
    usable = (descriptors.abs() <= LARGEST).all(1)  # false for NaN
    if not bool(usable.all()):
        raise UnusableDescriptorError(name, int(torch.nonzero(~usable)[0]))
