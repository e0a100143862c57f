"""Voxel thinning to a budget: one point per occupied voxel, the voxel's size found so that the budget is met."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.fusion.cloud import Cloud

FILLED = 0.94  # the search stops once at least this part of the budget is used
AIM = 0.97
MAX_STEPS = 40
HALF_RANGE = 2**20  # voxels on each side of the median; points farther out share the outermost voxels


def thin_cloud(cloud: Cloud, budget: int) -> tuple[Cloud, float]:
    """Average the points of each voxel, weighted by confidence; returns the cloud and the voxel's size (0: nothing to thin).

    Averaging over views is also what takes the noise out of overlapping depth maps. Points come out sorted by voxel.
    """
    if len(cloud) <= budget:
        return cloud, 0.0
    size = find_voxel_size(cloud.points, budget)
    _, voxel = np.unique(_voxel_keys(cloud.points, size), return_inverse=True)
    return _average_voxels(cloud, voxel.astype(np.int64)), size


def find_voxel_size(
    points: NDArray[np.float32],  # (P, 3)
    budget: int,
) -> float:
    """Find a size with at most `budget` occupied voxels and, where the points allow it, at least 94 % of it.

    Secant steps between the logarithms of size and count, kept inside the bracket found so far.
    """
    size, falloff = _first_guess(points, budget), 2.0  # counts on surfaces fall with the square of the size
    tried: list[tuple[float, int]] = []
    for _ in range(MAX_STEPS):
        count = _count_voxels(points, size)
        if FILLED * budget <= count <= budget:
            return size
        if tried and tried[-1][1] != count:
            falloff = -np.log(tried[-1][1] / count) / np.log(tried[-1][0] / size)
        tried.append((size, count))
        finer = max((s for s, n in tried if n > budget), default=0.0)
        coarser = min((s for s, n in tried if n <= budget), default=np.inf)
        if coarser < finer * (1 + 1e-6):
            break
        size *= (count / (AIM * budget)) ** (1 / np.clip(falloff, 0.6, 3.0))
        size = _keep_inside(size, finer, coarser)
    return coarser


def _first_guess(points: NDArray[np.float32], budget: int) -> float:
    extent = float(np.ptp(np.quantile(points[:: max(1, len(points) // 100_000)], (0.05, 0.95), axis=0), axis=0).max())
    return max(extent, 1e-6) / float(np.sqrt(budget))


def _count_voxels(points: NDArray[np.float32], size: float) -> int:
    keys = _voxel_keys(points, size)
    keys.sort()  # np.unique's hash table takes five times as long
    return 1 + int(np.count_nonzero(np.diff(keys)))


def _keep_inside(size: float, finer: float, coarser: float) -> float:
    """Keep a size well inside the bracket (finer, coarser), or near its known end."""
    if finer == 0:
        return float(max(size, coarser / 16))
    if not np.isfinite(coarser):
        return float(min(size, finer * 16))
    step = np.log(coarser / finer)
    return float(np.clip(size, finer * np.exp(0.1 * step), coarser * np.exp(-0.1 * step)))


def _voxel_keys(points: NDArray[np.float32], size: float) -> NDArray[np.int64]:
    """Three 21-bit voxel coordinates in one integer; the median stands in the middle of a voxel."""
    keys = np.zeros(len(points), np.int64)
    for axis in range(3):
        offset = np.median(points[:, axis]) - 0.5 * size
        cell = np.floor((points[:, axis].astype(np.float64) - offset) / size)
        keys = (keys << 21) | (np.clip(cell, -HALF_RANGE, HALF_RANGE - 1).astype(np.int64) + HALF_RANGE)
    return keys


def _average_voxels(
    cloud: Cloud,
    voxel: NDArray[np.int64],  # (P,) index of each point's voxel
) -> Cloud:
    weight = np.maximum(cloud.confidence.astype(np.float64), 1e-12)
    total = np.bincount(voxel, weight)

    def mean(values: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.stack([np.bincount(voxel, weight * column) / total for column in values.reshape(len(voxel), -1).T], axis=-1)

    surest = _surest_points(cloud.confidence, voxel)
    return Cloud(
        points=mean(cloud.points).astype(np.float32),
        colors=np.rint(mean(cloud.colors)).astype(np.uint8),
        confidence=mean(cloud.confidence)[:, 0].astype(np.float32),
        normals=_unit_normals(mean(cloud.normals), cloud.normals[surest]),
        component=cloud.component[surest],
    )


def _surest_points(confidence: NDArray[np.float32], voxel: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the most confident point of each voxel."""
    order = np.lexsort((-confidence, voxel))
    first = np.ones(len(order), np.bool_)
    first[1:] = np.diff(voxel[order]) > 0
    return order[first]


def _unit_normals(
    mean: NDArray[np.float64],  # (V, 3)
    surest: NDArray[np.float32],  # (V, 3)
) -> NDArray[np.float32]:
    """Unit mean normals; where the normals cancel (both sides of a thin wall), that of the surest point."""
    length = np.linalg.norm(mean, axis=-1, keepdims=True)
    return np.where(length > 0.1, mean / np.maximum(length, 1e-12), surest).astype(np.float32)
