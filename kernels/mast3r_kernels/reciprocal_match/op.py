"""The public functions of the op: they check their arguments and choose the implementation."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mast3r_kernels import cuda
from mast3r_kernels.native import KernelUnavailableError
from mast3r_kernels.reciprocal_match import cuda as cuda_op
from mast3r_kernels.reciprocal_match.compiled import MOST_COMPONENTS, CompiledSearch, fits, usable_paths
from mast3r_kernels.reciprocal_match.descriptors import check_numbers, check_shapes
from mast3r_kernels.reciprocal_match.reference import ReferenceSearch

MAX_ITERATIONS = 10


class Search(Protocol):
    """What an implementation offers; see `ReciprocalSearch`."""

    def nearest(self, indices: Tensor, from_b: bool) -> Tensor: ...

    def walk(self, starts: Tensor, from_b: bool, max_iterations: int) -> tuple[Tensor, Tensor]: ...


class ReciprocalSearch:
    """Nearest neighbours between two sets of descriptors by inner product, exact, ties to the lowest index.

    The rule of arithmetic stands in `reference.py`; every implementation obeys it, so that all give the same answer on any number
    of threads. What was searched once is remembered, so that walks that meet share their way.

    `width_a`, `width_b`: when the rows are the pixels of an image, row by row, its width; the search is faster for knowing.
    `implementation`: "auto" takes the compiled op where it is built for the device, else the reference; "reference", "cuda",
    or the name of one of the compiled op's paths, takes that. `threads`: torch's number by default.

    UnusableDescriptorError for NaN, infinity or components above 1e15; ValueError when the sets do not fit each other;
    KernelUnavailableError when a path is asked for that cannot be had.
    """

    def __init__(
        self,
        a: Tensor,  # (N, D) float32, any strides
        b: Tensor,  # (M, D) float32, any strides
        width_a: int = 0,
        width_b: int = 0,
        implementation: str = "auto",
        threads: int | None = None,
    ) -> None:
        check_shapes(a, b)
        self._sizes = (len(a), len(b))
        self._search = _open(a, b, (width_a, width_b), implementation, threads or torch.get_num_threads())

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
            raise ValueError(
                f"reciprocal_match: indices run from {int(indices.min())} to {int(indices.max())}; they must be 0 to {size - 1}"
            )


def nearest(
    queries: Tensor,  # (n, D) float32
    database: Tensor,  # (M, D) float32
    implementation: str = "auto",
) -> Tensor:  # (n,) int64
    """Index of the database row with the greatest inner product, the lowest of equals."""
    search = ReciprocalSearch(queries, database, implementation=implementation)
    return search.nearest(torch.arange(len(queries), device=queries.device))


def reciprocal_match(
    a: Tensor,  # (N, D) float32
    b: Tensor,  # (M, D) float32
    starts: Tensor,  # (n,) int64 into a
    max_iterations: int = MAX_ITERATIONS,
    implementation: str = "auto",
) -> tuple[Tensor, Tensor]:  # (m,) int64 into a, (m,) int64 into b
    """Mutual nearest neighbours reached from `starts`; see `ReciprocalSearch.walk`."""
    return ReciprocalSearch(a, b, implementation=implementation).walk(starts, max_iterations=max_iterations)


def reciprocal_match_pairs(
    a: Tensor,  # (P, N, D) float32
    b: Tensor,  # (P, M, D) float32
    starts: Tensor,  # (n,) int64 into each pair's a
    max_iterations: int = MAX_ITERATIONS,
    implementation: str = "auto",
) -> list[tuple[Tensor, Tensor]]:  # P times (m,) int64 into a, (m,) int64 into b
    """`reciprocal_match` of P pairs of images of equal sizes. On a GPU all walk at once; on the CPU one pair after the other."""
    if not len(a) or not _all_walk_at_once(a, b, implementation):
        return [reciprocal_match(*pair, starts, max_iterations, implementation) for pair in zip(a, b, strict=True)]
    for descriptors, name in ((a, "a"), (b, "b")):
        check_numbers(descriptors.flatten(0, 1), name)
    search = cuda_op.CudaSearch(a, b, cuda.load(cuda.RECIPROCAL_MATCH))
    here, there = search.walk(torch.unique(starts).expand(len(a), -1), False, max_iterations)
    return [(h[h >= 0], t[h >= 0]) for h, t in zip(here, there, strict=True)]


def _all_walk_at_once(a: Tensor, b: Tensor, implementation: str) -> bool:
    if not cuda_op.fits(a, b) or not a.shape[1] or not b.shape[1]:
        return False
    return implementation == "cuda" or (implementation == "auto" and cuda.is_built(cuda.RECIPROCAL_MATCH))


def _open(a: Tensor, b: Tensor, widths: tuple[int, int], implementation: str, threads: int) -> Search:
    if implementation == "cuda" or (implementation == "auto" and cuda_op.fits(a, b) and cuda.is_built(cuda.RECIPROCAL_MATCH)):
        return _open_cuda(a, b)
    if implementation not in ("auto", "reference") and not fits(a, b):
        raise KernelUnavailableError(
            f"reciprocal_match: {implementation} was asked for; it takes sets on the CPU of at most {MOST_COMPONENTS} components,"
            f" and these are {tuple(a.shape)} and {tuple(b.shape)} on {a.device}"
        )
    if implementation == "reference" or (implementation == "auto" and not (fits(a, b) and _is_built())):
        check_numbers(a, "a")
        check_numbers(b, "b")
        return ReferenceSearch(a, b)
    return CompiledSearch(a, b, widths, "" if implementation == "auto" else implementation, threads)


def _open_cuda(a: Tensor, b: Tensor) -> Search:
    if not cuda_op.fits(a, b):
        raise KernelUnavailableError(
            f"reciprocal_match: cuda was asked for; it takes sets on a GPU of at most {cuda_op.MOST_COMPONENTS} components,"
            f" and these are {tuple(a.shape)} and {tuple(b.shape)} on {a.device}"
        )
    library = cuda.load(cuda.RECIPROCAL_MATCH)
    check_numbers(a, "a")
    check_numbers(b, "b")
    if not len(a) or not len(b):
        return ReferenceSearch(a, b)
    return cuda_op.CudaPairSearch(a, b, library)


def _is_built() -> bool:
    try:
        return bool(usable_paths())
    except KernelUnavailableError:
        return False
