"""The op in plain numpy: it defines what is right and runs where nothing is compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_kernels.alignment_normal_equations.arrays import (
    CAMERA_COLUMNS,
    PRINCIPAL_COLUMNS,
    DirectedMatches,
    PairBlocks,
    RelativeCameras,
)

Floats = NDArray[np.float64]

HIDDEN = 1e8  # squared pixels: the error of a point that is not in front of the camera
NEAREST = 1e-3  # of the source depth: nearer to the target's image plane than this is not in front


def alignment_normal_equations_reference(
    matches: DirectedMatches,
    cameras: RelativeCameras,
    weight: Floats,  # (M,) 1 / sigma^2 of each match
    kernel_width: float,  # of the Cauchy kernel, in sigmas
    *,
    principal_points: bool = False,
) -> PairBlocks:
    """See `alignment_normal_equations`."""
    pairs = len(matches.pair_start) - 1
    columns = CAMERA_COLUMNS + (PRINCIPAL_COLUMNS if principal_points else 0)
    normal = np.zeros((pairs, columns, columns))
    gradient = np.zeros((pairs, columns))
    groups = np.zeros((len(matches.group_start) - 1, columns + 2))
    squared_error = np.empty(matches.source_xy.shape[1])
    for p in range(pairs):
        first, last = matches.pair_start[p], matches.pair_start[p + 1]
        if first == last:
            continue
        group_slice = slice(matches.pair_group_start[p], matches.pair_group_start[p + 1])
        starts = matches.group_start[group_slice]
        counts = matches.group_start[group_slice.start + 1 : group_slice.stop + 1] - starts
        depth = np.repeat(cameras.depth[group_slice], counts) * matches.offset[first:last]
        Ju, Jv, hidden = _residuals_and_jacobians(matches, cameras, p, slice(first, last), depth, columns)
        error = Ju[-1] ** 2 + Jv[-1] ** 2
        w = weight[first:last] / (1.0 + error * weight[first:last] / kernel_width**2)
        error[hidden], w[hidden] = HIDDEN, 0.0
        squared_error[first:last] = error
        Wu, Wv = Ju * w, Jv * w
        full = Wu @ Ju.T + Wv @ Jv.T
        normal[p], gradient[p] = full[:columns, :columns], full[:columns, -1]
        Wu *= Ju[-2]
        Wv *= Jv[-2]
        Wu += Wv
        groups[group_slice] = np.add.reduceat(Wu, starts - first, axis=1).T
    return PairBlocks(normal, gradient, groups, squared_error)


def _residuals_and_jacobians(
    matches: DirectedMatches, cameras: RelativeCameras, p: int, part: slice, depth: Floats, columns: int
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Rows (C + 2, m) of u and v: camera columns, log-depth, residual; and which points are not in front."""
    R, t = cameras.rotation[p], cameras.translation[p]
    f = cameras.target_focal[p]
    x, y = matches.source_xy[:, part] - cameras.source_shift[p][:, None]
    a, b = x * (depth / cameras.source_focal[p]), y * (depth / cameras.source_focal[p])
    X = R[0, 0] * a + R[0, 1] * b + (R[0, 2] * depth + t[0])
    Y = R[1, 0] * a + R[1, 1] * b + (R[1, 2] * depth + t[1])
    Z = R[2, 0] * a + R[2, 1] * b + (R[2, 2] * depth + t[2])
    hidden = NEAREST * depth > Z
    Z[hidden] = 1.0
    inverse = 1.0 / Z
    scale = f * inverse
    u, v = X * scale, Y * scale
    Ju, Jv = np.empty((columns + 2, len(x))), np.empty((columns + 2, len(x)))
    uv = u * v / f
    Ju[0], Ju[1], Ju[2] = -uv, f + u * u / f, -v
    Jv[0], Jv[1], Jv[2] = -f - v * v / f, uv, u
    Ju[3], Ju[4], Ju[5] = scale, 0.0, -u * inverse
    Jv[3], Jv[4], Jv[5] = 0.0, scale, -v * inverse
    Ju[-2] = (u * t[2] - f * t[0]) * inverse
    Jv[-2] = (v * t[2] - f * t[1]) * inverse
    along = depth * inverse
    Ju[6] = along * (f * R[0, 2] - u * R[2, 2]) - Ju[-2]
    Jv[6] = along * (f * R[1, 2] - v * R[2, 2]) - Jv[-2]
    Ju[7], Jv[7] = u, v
    if columns > CAMERA_COLUMNS:
        sideways = along / -cameras.source_focal[p]
        for k in range(2):
            Ju[8 + k] = sideways * (f * R[0, k] - u * R[2, k])
            Jv[8 + k] = sideways * (f * R[1, k] - v * R[2, k])
        Ju[10], Ju[11], Jv[10], Jv[11] = 1.0, 0.0, 0.0, 1.0
    Ju[-1] = u + (cameras.target_shift[p, 0] - matches.target_xy[0, part])
    Jv[-1] = v + (cameras.target_shift[p, 1] - matches.target_xy[1, part])
    return Ju, Jv, hidden
