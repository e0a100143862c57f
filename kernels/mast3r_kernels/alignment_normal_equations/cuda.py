"""The op on NVIDIA GPUs, called through its C interface (alignment_normal_equations.cu).

The matches go to the device once and stay there as long as their `DirectedMatches` lives.
"""

from __future__ import annotations

import ctypes
import weakref
from ctypes import CDLL, byref, c_double, c_int32, c_int64, c_void_p

import numpy as np
from numpy.typing import NDArray

from mast3r_kernels import cuda
from mast3r_kernels.alignment_normal_equations.arrays import (
    CAMERA_COLUMNS,
    PRINCIPAL_COLUMNS,
    DirectedMatches,
    PairBlocks,
    RelativeCameras,
)

Floats = NDArray[np.float64]


class ResidentMatches:
    """Matches on a device, closed when this is forgotten."""

    def __init__(self, matches: DirectedMatches, library: CDLL, device: int = 0) -> None:
        self._library = library
        self._handle = c_void_p()
        indices = [np.ascontiguousarray(a, np.int64) for a in (matches.pair_group_start, matches.group_start)]
        pixels = [np.ascontiguousarray(a, np.float64) for a in (matches.source_xy, matches.target_xy, matches.offset)]
        error = library.alignment_normal_equations_cuda_open(
            *(c_int64(len(matches.offset)), c_int64(len(matches.pair_start) - 1), c_int64(len(matches.group_start) - 1)),
            *(a.ctypes for a in (*indices, *pixels)),
            *(c_int32(device), byref(self._handle)),
        )
        cuda.check(library, cuda.ALIGNMENT_NORMAL_EQUATIONS, error)
        weakref.finalize(self, _close, library, self._handle.value)

    def evaluate(
        self,
        cameras: RelativeCameras,
        weight: Floats,  # (M,)
        kernel_width: float,
        principal_points: bool,
    ) -> PairBlocks:
        """One evaluation; see `alignment_normal_equations`."""
        pairs, columns = len(cameras.rotation), CAMERA_COLUMNS + (PRINCIPAL_COLUMNS if principal_points else 0)
        blocks = PairBlocks(
            normal=np.empty((pairs, columns, columns)),
            gradient=np.empty((pairs, columns)),
            groups=np.empty((len(cameras.depth), columns + 2)),
            squared_error=np.empty(len(weight)),
        )
        parts = (
            *(cameras.rotation, cameras.translation, cameras.source_focal, cameras.target_focal),
            *(cameras.source_shift, cameras.target_shift, cameras.depth),
        )
        flat = np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])
        weight = np.ascontiguousarray(weight, np.float64)
        error = self._library.alignment_normal_equations_cuda(
            *(self._handle, flat.ctypes, weight.ctypes, c_double(kernel_width), c_int32(columns)),
            *(a.ctypes for a in (blocks.normal, blocks.gradient, blocks.groups, blocks.squared_error)),
        )
        cuda.check(self._library, cuda.ALIGNMENT_NORMAL_EQUATIONS, error)
        return blocks


def resident(matches: DirectedMatches) -> ResidentMatches:
    """The matches on the device: put there at the first call."""
    key = id(matches)
    if key not in _residents:
        _residents[key] = ResidentMatches(matches, cuda.load(cuda.ALIGNMENT_NORMAL_EQUATIONS))
        weakref.finalize(matches, _residents.pop, key, None)
    return _residents[key]


_residents: dict[int, ResidentMatches] = {}


def _close(library: CDLL, handle: int | None) -> None:
    close = library.alignment_normal_equations_cuda_close
    close.argtypes, close.restype = [ctypes.c_void_p], None
    close(handle)
