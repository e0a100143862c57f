"""The op compiled, called through its C interface (alignment_normal_equations.cpp)."""

from __future__ import annotations

from ctypes import c_double, c_int32, c_int64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_kernels.alignment_normal_equations.arrays import (
    CAMERA_COLUMNS,
    PRINCIPAL_COLUMNS,
    DirectedMatches,
    PairBlocks,
    RelativeCameras,
)
from mast3r_kernels.native import ALIGNMENT_NORMAL_EQUATIONS, KernelUnavailableError, load, paths

Floats = NDArray[np.float64]

NO_PATH = 1  # what the C interface answers


def usable_paths() -> tuple[str, ...]:
    """Instruction sets this processor can run, the fastest first; KernelUnavailableError when nothing is built."""
    return paths(ALIGNMENT_NORMAL_EQUATIONS)


def alignment_normal_equations_compiled(
    matches: DirectedMatches,
    cameras: RelativeCameras,
    weight: Floats,  # (M,) 1 / sigma^2 of each match
    kernel_width: float,  # of the Cauchy kernel, in sigmas
    *,
    principal_points: bool,
    path: str,  # one of usable_paths(), or empty for the fastest
    threads: int,
) -> PairBlocks:
    """See `alignment_normal_equations`; arrays that are not contiguous are copied."""
    library = load(ALIGNMENT_NORMAL_EQUATIONS)
    pairs, columns = len(cameras.rotation), CAMERA_COLUMNS + (PRINCIPAL_COLUMNS if principal_points else 0)
    blocks = PairBlocks(
        normal=np.zeros((pairs, columns, columns)),
        gradient=np.zeros((pairs, columns)),
        groups=np.zeros((len(cameras.depth), columns + 2)),
        squared_error=np.empty(len(weight)),
    )
    indices = [_contiguous(a, np.int64) for a in (matches.pair_start, matches.pair_group_start, matches.group_start)]
    pixels = [_contiguous(a, np.float64) for a in (matches.source_xy, matches.target_xy, matches.offset)]
    at = [
        _contiguous(a, np.float64)
        for a in (
            *(cameras.rotation, cameras.translation, cameras.source_focal, cameras.target_focal),
            *(cameras.source_shift, cameras.target_shift, cameras.depth, weight),
        )
    ]
    results = (blocks.normal, blocks.gradient, blocks.groups, blocks.squared_error)
    why = library.alignment_normal_equations(
        c_int64(len(weight)),
        *(a.ctypes for a in (*indices, *pixels)),
        c_int64(pairs),
        *(a.ctypes for a in at),
        *(c_double(kernel_width), c_int32(columns)),
        *(a.ctypes for a in results),
        *(path.encode(), c_int32(max(1, threads))),
    )
    if why == NO_PATH:
        raise KernelUnavailableError(
            f"alignment_normal_equations: no path {path!r} on this processor; it has {', '.join(usable_paths())}"
        )
    if why:
        raise MemoryError("alignment_normal_equations: no memory for the sums of the pairs")
    return blocks


def _contiguous(array: NDArray[Any], dtype: type[np.float64] | type[np.int64]) -> NDArray[Any]:
    return np.ascontiguousarray(array, dtype)
