"""The op in plain numpy: it defines what is right and runs where nothing is compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_kernels.alignment_normal_equations.arrays import CAMERA_COLUMNS, DirectedMatches, PairBlocks, RelativeCameras

Floats = NDArray[np.float64]

HIDDEN = 1e8  # squared pixels: the error of a point that is not in front of the camera
NEAREST = 1e-3  # of the source depth: nearer to the target's image plane than this is not in front


def alignment_normal_equations_reference(
    matches: DirectedMatches,
    cameras: RelativeCameras,
    weight: Floats,  # (M,) 1 / sigma^2 of each match
    kernel_width: float,  # of the Cauchy kernel, in sigmas
) -> PairBlocks:
    """See `alignment_normal_equations`."""
    pairs = len(matches.pair_start) - 1
    normal = np.zeros((pairs, CAMERA_COLUMNS, CAMERA_COLUMNS))
    gradient = np.zeros((pairs, CAMERA_COLUMNS))
    groups = np.zeros((len(matches.group_start) - 1, CAMERA_COLUMNS + 2))
    squared_error = np.empty(matches.source_xy.shape[1])
    for p in range(pairs):
        first, last = matches.pair_start[p], matches.pair_start[p + 1]
        if first == last:
            continue
        group_slice = slice(matches.pair_group_start[p], matches.pair_group_start[p + 1])
        starts = matches.group_start[group_slice]
        counts = matches.group_start[group_slice.start + 1 : group_slice.stop + 1] - starts
        depth = np.repeat(cameras.depth[group_slice], counts) * matches.offset[first:last]
        Ju, Jv, hidden = _residuals_and_jacobians(matches, cameras, p, slice(first, last), depth)
        error = Ju[9] ** 2 + Jv[9] ** 2
        w = weight[first:last] / (1.0 + error * weight[first:last] / kernel_width**2)
        error[hidden], w[hidden] = HIDDEN, 0.0
        squared_error[first:last] = error
        Wu, Wv = Ju * w, Jv * w
        full = Wu @ Ju.T + Wv @ Jv.T
        normal[p], gradient[p] = full[:CAMERA_COLUMNS, :CAMERA_COLUMNS], full[:CAMERA_COLUMNS, 9]
        Wu *= Ju[8]
        Wv *= Jv[8]
        Wu += Wv
        groups[group_slice] = np.add.reduceat(Wu, starts - first, axis=1).T
    return PairBlocks(normal, gradient, groups, squared_error)


def _residuals_and_jacobians(
    matches: DirectedMatches, cameras: RelativeCameras, p: int, part: slice, depth: Floats
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Rows (10, m) of u and v: eight camera columns, log-depth, residual; and which points are not in front."""
    R, t = cameras.rotation[p], cameras.translation[p]
    f = cameras.target_focal[p]
    x, y = matches.source_xy[:, part]
    a, b = x * (depth / cameras.source_focal[p]), y * (depth / cameras.source_focal[p])
    X = R[0, 0] * a + R[0, 1] * b + (R[0, 2] * depth + t[0])
    Y = R[1, 0] * a + R[1, 1] * b + (R[1, 2] * depth + t[1])
    Z = R[2, 0] * a + R[2, 1] * b + (R[2, 2] * depth + t[2])
    hidden = NEAREST * depth > Z
    Z[hidden] = 1.0
    inverse = 1.0 / Z
    scale = f * inverse
    u, v = X * scale, Y * scale
    Ju, Jv = np.empty((10, len(x))), np.empty((10, len(x)))
    uv = u * v / f
    Ju[0], Ju[1], Ju[2] = -uv, f + u * u / f, -v
    Jv[0], Jv[1], Jv[2] = -f - v * v / f, uv, u
    Ju[3], Ju[4], Ju[5] = scale, 0.0, -u * inverse
    Jv[3], Jv[4], Jv[5] = 0.0, scale, -v * inverse
    Ju[8] = (u * t[2] - f * t[0]) * inverse
    Jv[8] = (v * t[2] - f * t[1]) * inverse
    along = depth * inverse
    Ju[6] = along * (f * R[0, 2] - u * R[2, 2]) - Ju[8]
    Jv[6] = along * (f * R[1, 2] - v * R[2, 2]) - Jv[8]
    Ju[7], Jv[7] = u, v
    Ju[9], Jv[9] = u - matches.target_xy[0, part], v - matches.target_xy[1, part]
    return Ju, Jv, hidden
