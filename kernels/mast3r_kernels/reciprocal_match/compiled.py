"""The op compiled, called through its C interface (reciprocal_match.cpp)."""

from __future__ import annotations

import ctypes
import weakref
from ctypes import c_char_p, c_int32, c_int64, c_void_p

import torch
from torch import Tensor

from mast3r_kernels.native import RECIPROCAL_MATCH, KernelUnavailableError, load, paths
from mast3r_kernels.reciprocal_match.descriptors import UnusableDescriptorError

MOST_COMPONENTS = 4096
MOST_ROWS = 2**31 - 1024

NO_PATH, NO_MEMORY, BAD_A, BAD_B = 1, 2, 3, 4  # what the C interface answers


def usable_paths() -> tuple[str, ...]:
    """Instruction sets this processor can run, the fastest first; KernelUnavailableError when nothing is built."""
    return paths(RECIPROCAL_MATCH)


def fits(
    a: Tensor,  # (N, D)
    b: Tensor,  # (M, D)
) -> bool:
    """Whether the compiled op takes these sets: on the CPU, and not beyond its numbers."""
    return a.device.type == "cpu" and a.shape[1] <= MOST_COMPONENTS and max(len(a), len(b)) < MOST_ROWS


class CompiledSearch:
    """Nearest neighbours between two sets on one of the paths; see `ReciprocalSearch`."""

    def __init__(
        self,
        a: Tensor,  # (N, D) float32 on the CPU
        b: Tensor,  # (M, D) float32 on the CPU
        widths: tuple[int, int],  # of the images, 0 when the sets are none
        path: str,  # one of usable_paths(), or empty for the fastest
        threads: int,
    ) -> None:
        self._library = _library()
        self._a, self._b = a.detach().contiguous(), b.detach().contiguous()  # read until the search is closed
        why, bad_row = c_int32(), c_int64()
        self._search = self._library.reciprocal_match_open(
            *(self._a.data_ptr(), len(a), widths[0]),
            *(self._b.data_ptr(), len(b), widths[1]),
            *(a.shape[1], path.encode(), max(1, threads), ctypes.byref(why), ctypes.byref(bad_row)),
        )
        if not self._search:
            raise _open_error(why.value, bad_row.value, path)
        weakref.finalize(self, self._library.reciprocal_match_close, self._search)

    def nearest(
        self,
        indices: Tensor,  # (n,) int64
        from_b: bool,
    ) -> Tensor:  # (n,) int64
        """Nearest in b of members of a, or with `from_b` the other way round."""
        indices, found = indices.contiguous(), torch.empty_like(indices, memory_format=torch.contiguous_format)
        if self._library.reciprocal_match_nearest(self._search, indices.data_ptr(), len(indices), from_b, found.data_ptr()):
            raise MemoryError("reciprocal_match: no memory for the search")
        return found

    def walk(
        self,
        starts: Tensor,  # (n,) int64, distinct
        from_b: bool,
        max_iterations: int,
    ) -> tuple[Tensor, Tensor]:  # (m,), (m,) int64 into the set walked from and the other one
        """Walk from each start to the nearest and back until a pair is mutual; walks that do not end are dropped."""
        starts = starts.contiguous()
        here, there = torch.empty_like(starts), torch.empty_like(starts)
        ends = self._library.reciprocal_match_walk(
            self._search, starts.data_ptr(), len(starts), from_b, max_iterations, here.data_ptr(), there.data_ptr()
        )
        if ends < 0:
            raise MemoryError("reciprocal_match: no memory for the search")
        return here[:ends], there[:ends]


def _open_error(why: int, bad_row: int, path: str) -> Exception:
    if why in (BAD_A, BAD_B):
        return UnusableDescriptorError("a" if why == BAD_A else "b", bad_row)
    if why == NO_PATH:
        return KernelUnavailableError(f"reciprocal_match: no path {path!r} on this processor; it has {', '.join(usable_paths())}")
    return MemoryError("reciprocal_match: no memory to pack the descriptors")


def _library() -> ctypes.CDLL:
    library = load(RECIPROCAL_MATCH)
    library.reciprocal_match_open.argtypes = [
        *(c_void_p, c_int64, c_int64),
        *(c_void_p, c_int64, c_int64),
        *(c_int32, c_char_p, c_int32, c_void_p, c_void_p),
    ]
    library.reciprocal_match_open.restype = c_void_p
    library.reciprocal_match_close.argtypes = [c_void_p]
    library.reciprocal_match_close.restype = None
    library.reciprocal_match_nearest.argtypes = [c_void_p, c_void_p, c_int64, c_int32, c_void_p]
    library.reciprocal_match_nearest.restype = c_int32
    library.reciprocal_match_walk.argtypes = [c_void_p, c_void_p, c_int64, c_int32, c_int32, c_void_p, c_void_p]
    library.reciprocal_match_walk.restype = c_int64
    return library
