"""Closed-form initialisation: poses of all images of a component from the relative similarities of its pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.pair_geometry import PairGeometry
from mast3r_engine.alignment.similarity import nearest_rotation, rotation_exp, rotation_log, similarity, split_similarity

Floats = NDArray[np.float64]

ROTATION_ROUNDS = 12
ROTATION_SCALE = np.radians(2.0)  # disagreement at which a pair counts half
LINEAR_ROUNDS = 6


def initial_poses(views: int, pairs: Sequence[PairGeometry], root: int) -> Floats:  # (N, 4, 4) similarities world <- view
    """Average rotations, log-scales and translations over a connected graph, each robustly; `root` stays the world.

    The mean of the logarithms of the scales is 0, so that a metric network's predictions keep their size.
    """
    i = np.array([p.i for p in pairs])
    j = np.array([p.j for p in pairs])
    weights = np.sqrt(np.array([float(p.support) for p in pairs]))
    s_ji, R_ji, t_ji = split_similarity(np.stack([p.relative for p in pairs]))
    R = _average_rotations(_chain_rotations(views, i, j, R_ji, weights, root), i, j, R_ji, weights, root)
    log_s = _robust_potentials(views, i, j, np.log(s_ji)[:, None], weights, root)[:, 0]  # log S_i = log S_j + log s_ji
    log_s -= log_s.mean()
    s = np.exp(log_s)
    shift = s[j, None] * np.einsum("eab,eb->ea", R[j], t_ji)  # C_i - C_j in the world
    C = _robust_potentials(views, i, j, shift, weights, root)
    return similarity(s, R, C)


def strongest_view(views: int, pairs: Sequence[PairGeometry]) -> int:
    """The image with most agreeing matches, which does not depend on the numbering of the images."""
    support = np.zeros(views)
    for pair in pairs:
        support[pair.i] += pair.support
        support[pair.j] += pair.support
    return int(support.argmax())


def _chain_rotations(
    views: int, i: NDArray[np.int64], j: NDArray[np.int64], R_ji: Floats, weights: Floats, root: int
) -> Floats:  # (N, 3, 3)
    """Chain along the maximum spanning tree (Prim)."""
    R = np.tile(np.eye(3), (views, 1, 1))
    placed = np.zeros(views, bool)
    placed[root] = True
    while not placed.all():
        frontier = placed[i] != placed[j]
        edge = int(np.argmax(np.where(frontier, weights, -1.0)))
        if placed[j[edge]]:
            R[i[edge]] = R[j[edge]] @ R_ji[edge]
        else:
            R[j[edge]] = R[i[edge]] @ R_ji[edge].T
        placed[i[edge]] = placed[j[edge]] = True
    return R


def _average_rotations(
    R: Floats, i: NDArray[np.int64], j: NDArray[np.int64], R_ji: Floats, weights: Floats, root: int
) -> Floats:  # (N, 3, 3)
    """Iteratively reweighted averaging in the tangent space (Chatterjee and Govindu, 2013): R_i = R_j R_ji."""
    for _ in range(ROTATION_ROUNDS):
        # with R <- exp(x) R in the world, exp(x_i) R_i = exp(x_j) R_j R_ji gives x_i - x_j = log(R_j R_ji R_i^T)
        error = rotation_log(R[j] @ R_ji @ np.swapaxes(R[i], -1, -2))
        robust = weights / (1.0 + (np.linalg.norm(error, axis=1) / ROTATION_SCALE) ** 2)
        step = _solve_potentials(len(R), i, j, error, robust, root)
        R = rotation_exp(step) @ R
        if np.abs(step).max() < 1e-10:
            break
    return nearest_rotation(R)


def _robust_potentials(
    views: int, i: NDArray[np.int64], j: NDArray[np.int64], difference: Floats, weights: Floats, root: int
) -> Floats:  # (N, D)
    """Values x with x_i - x_j near `difference` (E, D), reweighted by the size of what is left."""
    robust = weights
    x = np.zeros((views, difference.shape[1]))
    for _ in range(LINEAR_ROUNDS):
        x = _solve_potentials(views, i, j, difference, robust, root)
        error = np.linalg.norm(x[i] - x[j] - difference, axis=1)
        scale = max(2.0 * float(np.median(error)), 1e-9)
        robust = weights / (1.0 + (error / scale) ** 2)
    return x


def _solve_potentials(
    views: int, i: NDArray[np.int64], j: NDArray[np.int64], difference: Floats, weights: Floats, root: int
) -> Floats:  # (N, D), zero at the root
    laplacian = np.zeros((views, views))
    np.add.at(laplacian, (i, i), weights)
    np.add.at(laplacian, (j, j), weights)
    np.add.at(laplacian, (i, j), -weights)
    np.add.at(laplacian, (j, i), -weights)
    right = np.zeros((views, difference.shape[1]))
    np.add.at(right, i, weights[:, None] * difference)
    np.add.at(right, j, -weights[:, None] * difference)
    free = np.arange(views) != root
    x = np.zeros_like(right)
    x[free] = np.linalg.solve(laplacian[np.ix_(free, free)], right[free])
    return x
