"""The public function of the op: checks its arguments and runs the implementation at hand."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mast3r_kernels.alignment_normal_equations.arrays import DirectedMatches, PairBlocks, RelativeCameras
from mast3r_kernels.alignment_normal_equations.compiled import alignment_normal_equations_compiled, usable_paths
from mast3r_kernels.alignment_normal_equations.cuda import resident
from mast3r_kernels.alignment_normal_equations.reference import alignment_normal_equations_reference
from mast3r_kernels.native import KernelUnavailableError

Floats = NDArray[np.float64]


def alignment_normal_equations(
    matches: DirectedMatches,
    cameras: RelativeCameras,
    weight: Floats,  # (M,) 1 / sigma^2 of each match, 1 / pixels^2
    kernel_width: float,  # of the Cauchy kernel, in sigmas
    *,
    principal_points: bool = False,  # with their four columns: C = 12 instead of 8
    implementation: str = "auto",
    threads: int | None = None,
) -> PairBlocks:
    """Sum the Gauss-Newton blocks of all reprojection residuals e = projection into the target - matched pixel.

    Each residual counts with weight / (1 + weight |e|^2 / kernel_width^2), the Cauchy kernel's. Points that are not in front of
    the target have no weight. ValueError on arrays that do not fit together.

    `implementation`: "auto" takes the compiled op where it is built, else the reference; "reference", "cuda" (matches stay on the
    GPU between calls), or the name of one of the compiled op's paths, takes that; KernelUnavailableError when it can't be had.
    `threads`: torch's number by default; the result does not depend on it.
    """
    _check_shapes(matches, cameras, weight)
    _check_runs(matches)
    if implementation == "cuda":
        return resident(matches).evaluate(cameras, weight, kernel_width, principal_points)
    if implementation == "reference" or (implementation == "auto" and not _is_built()):
        return alignment_normal_equations_reference(matches, cameras, weight, kernel_width, principal_points=principal_points)
    return alignment_normal_equations_compiled(
        matches,
        cameras,
        weight,
        kernel_width,
        principal_points=principal_points,
        path="" if implementation == "auto" else implementation,
        threads=threads or torch.get_num_threads(),
    )


def _check_shapes(matches: DirectedMatches, cameras: RelativeCameras, weight: Floats) -> None:
    pairs, groups, count = len(cameras.rotation), len(cameras.depth), len(weight)
    right = {
        "pair_start": (matches.pair_start.shape, (pairs + 1,)),
        "pair_group_start": (matches.pair_group_start.shape, (pairs + 1,)),
        "group_start": (matches.group_start.shape, (groups + 1,)),
        "source_xy": (matches.source_xy.shape, (2, count)),
        "target_xy": (matches.target_xy.shape, (2, count)),
        "offset": (matches.offset.shape, (count,)),
        "rotation": (cameras.rotation.shape, (pairs, 3, 3)),
        "source_focal": (cameras.source_focal.shape, (pairs,)),
        "target_focal": (cameras.target_focal.shape, (pairs,)),
        "translation": (cameras.translation.shape, (pairs, 3)),
        "source_shift": (cameras.source_shift.shape, (pairs, 2)),
        "target_shift": (cameras.target_shift.shape, (pairs, 2)),
    }
    for name, (found, expected) in right.items():
        if found != expected:
            raise ValueError(f"alignment_normal_equations: {name} has shape {found}; it must be {expected}")


def _check_runs(matches: DirectedMatches) -> None:
    """Pairs are runs of groups and groups are runs of matches, none of them empty, without gaps."""
    groups, count = len(matches.group_start) - 1, len(matches.offset)
    ends = {
        "pair_start": (matches.pair_start, count),
        "pair_group_start": (matches.pair_group_start, groups),
        "group_start": (matches.group_start, count),
    }
    for name, (starts, end) in ends.items():
        if starts[0] != 0 or starts[-1] != end or (starts[1:] < starts[:-1]).any():
            raise ValueError(f"alignment_normal_equations: {name} must rise from 0 to {end}; it is {starts}")
    if (matches.group_start[1:] == matches.group_start[:-1]).any():
        raise ValueError("alignment_normal_equations: group_start holds a group without matches; leave it out")
    if (matches.group_start[matches.pair_group_start] != matches.pair_start).any():
        raise ValueError("alignment_normal_equations: pair_start and pair_group_start do not cut the matches alike")


def _is_built() -> bool:
    try:
        return bool(usable_paths())
    except KernelUnavailableError:
        return False
