"""The public function of the op: checks its arguments and runs the implementation at hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_kernels.alignment_normal_equations.arrays import DirectedMatches, PairBlocks, RelativeCameras
from mast3r_kernels.alignment_normal_equations.reference import alignment_normal_equations_reference

Floats = NDArray[np.float64]


def alignment_normal_equations(
    matches: DirectedMatches,
    cameras: RelativeCameras,
    weight: Floats,  # (M,) 1 / sigma^2 of each match, 1 / pixels^2
    kernel_width: float,  # of the Cauchy kernel, in sigmas
    *,
    principal_points: bool = False,  # with their four columns: C = 12 instead of 8
) -> PairBlocks:
    """Sum the Gauss-Newton blocks of all reprojection residuals e = projection into the target - matched pixel.

    Each residual counts with weight / (1 + weight |e|^2 / kernel_width^2), the Cauchy kernel's. Points that are not in front of
    the target have no weight. ValueError on arrays that do not fit together.
    """
    pairs, groups, count = len(cameras.rotation), len(cameras.depth), len(weight)
    right = {
        "pair_start": (matches.pair_start.shape, (pairs + 1,)),
        "pair_group_start": (matches.pair_group_start.shape, (pairs + 1,)),
        "group_start": (matches.group_start.shape, (groups + 1,)),
        "source_xy": (matches.source_xy.shape, (2, count)),
        "target_xy": (matches.target_xy.shape, (2, count)),
        "offset": (matches.offset.shape, (count,)),
        "translation": (cameras.translation.shape, (pairs, 3)),
        "source_shift": (cameras.source_shift.shape, (pairs, 2)),
        "target_shift": (cameras.target_shift.shape, (pairs, 2)),
    }
    for name, (found, expected) in right.items():
        if found != expected:
            raise ValueError(f"alignment_normal_equations: {name} has shape {found}; it must be {expected}")
    return alignment_normal_equations_reference(matches, cameras, weight, kernel_width, principal_points=principal_points)
