"""The op on NVIDIA GPUs, for several pairs of images at once, called through its C interface (reciprocal_match.cu)."""

from __future__ import annotations

from ctypes import CDLL, Structure, byref, c_int32, c_void_p
from dataclasses import dataclass

import torch
from torch import Tensor

from mast3r_kernels import cuda
from mast3r_kernels.cuda_stream import device_and_stream

MOST_COMPONENTS = 32
MOST_ROWS = 2**31 - 1024
PADDED_TO = 512  # rows: eight groups of 64
GROUP = 64
MOST_TOPS = 2**27  # numbers: 512 MiB, the room for the greatest scores of groups
FEWEST_TOPS_ROWS = 128  # queries searched at a time
UNKNOWN = -1


def fits(
    a: Tensor,  # (N, D)
    b: Tensor,  # (M, D)
) -> bool:
    """Whether the CUDA op takes these sets: on a GPU, and not beyond its numbers."""
    return a.device.type == "cuda" and a.shape[-1] <= MOST_COMPONENTS and max(a.shape[-2], b.shape[-2]) < MOST_ROWS


class _CSet(Structure):
    """`Set` of group_tops.cuh."""

    _fields_ = [
        *((name, c_void_p) for name in ("hi", "lo", "exact", "length", "longest", "known")),
        *((name, c_int32) for name in ("rows", "padded")),
    ]


@dataclass(frozen=True)
class _DeviceSet:
    """One of the two sets of P pairs, split for the tensor cores; keeps alive what the C struct points to."""

    hi: Tensor  # (P, padded, 32) float16
    lo: Tensor  # (P, padded, 32) float16
    exact: Tensor  # (P, rows, D) float32
    length: Tensor  # (P, rows) float64, after the scaling
    longest: Tensor  # (P,) float64
    known: Tensor  # (P, rows) int32: nearest in the other set, or UNKNOWN

    def pointers(self) -> _CSet:
        arrays = (self.hi, self.lo, self.exact, self.length, self.longest, self.known)
        return _CSet(*(array.data_ptr() for array in arrays), self.exact.shape[1], self.hi.shape[1])


class CudaSearch:
    """Nearest neighbours between the two sets of each of P pairs, all sets of a side of one size; see `ReciprocalSearch`."""

    def __init__(
        self,
        a: Tensor,  # (P, N, D) float32, finite, on a GPU
        b: Tensor,  # (P, M, D) float32, finite, on the same GPU
        library: CDLL,
    ) -> None:
        self._library = library
        self._sets = (_split(a.detach()), _split(b.detach()))

    def nearest(
        self,
        indices: Tensor,  # (P, n) int64
        from_b: bool,
    ) -> Tensor:  # (P, n) int64
        """Nearest in b of members of a, or with `from_b` the other way round."""
        here, there = self._sets[::-1] if from_b else self._sets
        listed = indices.to(torch.int32).contiguous()
        P, n = listed.shape
        if n:
            count = torch.full((P,), n, dtype=torch.int32, device=listed.device)
            tops = self._tops(n, there)
            error = self._library.reciprocal_match_cuda_nearest(
                *(byref(here.pointers()), byref(there.pointers())),
                *(c_void_p(listed.data_ptr()), c_void_p(count.data_ptr()), c_int32(n), c_int32(n)),
                *(c_int32(P), c_int32(here.exact.shape[2]), c_void_p(tops.data_ptr()), c_int32(tops.shape[1])),
                *device_and_stream(listed),
            )
            cuda.check(self._library, cuda.RECIPROCAL_MATCH, error)
        return torch.gather(here.known, 1, indices).to(torch.int64)

    def walk(
        self,
        starts: Tensor,  # (P, n) int64, distinct in each row
        from_b: bool,
        max_iterations: int,
    ) -> tuple[Tensor, Tensor]:  # (P, n), (P, n) int64 into the set walked from and the other one; -1 where a walk did not end
        """Walk from each start to the nearest and back until a pair is mutual."""
        here, there = self._sets[::-1] if from_b else self._sets
        P, n = starts.shape
        here_end, there_end = torch.full_like(starts, -1), torch.full_like(starts, -1)
        if not n:
            return here_end, there_end
        at = starts.to(torch.int32, copy=True).contiguous()
        previous, places, listed = torch.full_like(at, -1), torch.full_like(at, -1), torch.empty_like(at)
        count = torch.zeros(P, dtype=torch.int32, device=at.device)
        tops = self._tops(n, here if here.hi.shape[1] > there.hi.shape[1] else there)
        room = (at, previous, places, here_end, there_end, listed, count)
        error = self._library.reciprocal_match_cuda_walk(
            *(byref(here.pointers()), byref(there.pointers())),
            *(c_void_p(array.data_ptr()) for array in room),
            *(c_int32(n), c_int32(max_iterations), c_int32(P), c_int32(here.exact.shape[2])),
            *(c_void_p(tops.data_ptr()), c_int32(tops.shape[1])),
            *device_and_stream(at),
        )
        cuda.check(self._library, cuda.RECIPROCAL_MATCH, error)
        return here_end, there_end

    def _tops(self, n: int, database: _DeviceSet) -> Tensor:
        """Room for the greatest scores of the groups: (P, rows, groups) float32, for as many rows as the memory may hold."""
        P, groups = database.hi.shape[0], database.hi.shape[1] // GROUP
        rows = min(n, max(FEWEST_TOPS_ROWS, MOST_TOPS // (P * groups)))
        return torch.empty((P, rows, groups), dtype=torch.float32, device=database.hi.device)


class CudaPairSearch:
    """`CudaSearch` of one pair, with the face of the other implementations."""

    def __init__(
        self,
        a: Tensor,  # (N, D) float32, finite, on a GPU
        b: Tensor,  # (M, D) float32, finite, on the same GPU
        library: CDLL,
    ) -> None:
        self._search = CudaSearch(a[None], b[None], library)

    def nearest(
        self,
        indices: Tensor,  # (n,) int64
        from_b: bool,
    ) -> Tensor:  # (n,) int64
        return self._search.nearest(indices[None], from_b)[0]

    def walk(
        self,
        starts: Tensor,  # (n,) int64, distinct
        from_b: bool,
        max_iterations: int,
    ) -> tuple[Tensor, Tensor]:  # (m,), (m,) int64
        here, there = self._search.walk(starts[None], from_b, max_iterations)
        ended = here[0] >= 0
        return here[0][ended], there[0][ended]


def _split(
    x: Tensor,  # (P, rows, D) float32
) -> _DeviceSet:
    """Scale by a power of two until no component is above 1, and write each number as the sum of two of half precision."""
    P, rows = x.shape[:2]
    exact = x.contiguous()
    exponent = torch.frexp(exact.abs().amax((1, 2)))[1].clamp(-126, 126)  # greatest < 2^exponent
    scale = torch.ldexp(torch.ones(P, device=x.device), -exponent)[:, None, None]
    scaled = exact * scale
    hi = scaled.to(torch.float16)
    lo = (scaled - hi.to(torch.float32)).to(torch.float16)
    length = scaled.to(torch.float64).square().sum(2).sqrt()
    return _DeviceSet(
        _pad(hi), _pad(lo), exact, length, length.amax(1), torch.full((P, rows), UNKNOWN, dtype=torch.int32, device=x.device)
    )


def _pad(
    x: Tensor,  # (P, rows, D) float16
) -> Tensor:  # (P, padded, 32)
    """Zeros after the components; after the rows the last of them, so that padding never looks better than a member."""
    P, rows, D = x.shape
    padded = torch.zeros((P, -(-rows // PADDED_TO) * PADDED_TO, MOST_COMPONENTS), dtype=torch.float16, device=x.device)
    padded[:, :rows, :D] = x
    padded[:, rows:, :D] = x[:, -1:]
    return padded
