"""Depth maps made consistent with adjusted points: a smooth correction of each photograph's log-depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, diags_array, vstack
from scipy.sparse.linalg import spsolve

Floats = NDArray[np.float64]

CELLS = 8  # control points along the long edge
SIGMA = 0.02  # of log-depth: what one point says of its surroundings
STIFFNESS = 4.0  # of the field against bending, in points
PULL = 0.1  # towards the photograph's median, in points, where nothing else is known
ROUNDS = 5  # of reweighting


def corrected_depth(
    depth: NDArray[np.float32],  # (h, w), NaN where unknown
    xy: Floats,  # (M, 2) pixels with an adjusted point
    z: Floats,  # (M,) its depth there, positive
) -> tuple[NDArray[np.float32], float]:  # (h, w), and the median size of the correction in log-depth
    """Multiply the map by a smooth field that brings it to the points, robustly; unchanged when no point says anything."""
    h, w = depth.shape
    x, y = np.rint(xy).astype(np.int64).T
    here = depth[y.clip(0, h - 1), x.clip(0, w - 1)].astype(np.float64)
    usable = np.isfinite(here) & (here > 0) & (z > 0)
    if not usable.any():
        return depth, 0.0
    ratio = np.log(z[usable] / here[usable])
    shape = tuple(max(2, round(CELLS * side / max(h, w))) for side in (h, w))
    field = _fit(ratio, _weights_of(xy[usable], (h, w), shape), shape)
    grid_y, grid_x = np.mgrid[:h, :w]
    everywhere = _weights_of(np.stack([grid_x.ravel(), grid_y.ravel()], axis=1).astype(np.float64), (h, w), shape)
    correction = (everywhere @ field).reshape(h, w)
    return (depth * np.exp(correction)).astype(np.float32), float(np.median(np.abs(correction)))


def _fit(ratio: Floats, at: csr_array, shape: tuple[int, ...]) -> Floats:  # (nodes,)
    median = float(np.median(ratio))
    bending = _bending(shape)
    calm = STIFFNESS * (bending.T @ bending) + PULL * diags_array(np.ones(at.shape[1]))
    offset = ratio - median
    weight = np.ones(len(ratio))
    field = np.zeros(at.shape[1])
    for _ in range(ROUNDS):
        weighted = at.T @ diags_array(weight)
        field = spsolve((weighted @ at + calm).tocsc(), weighted @ offset)
        weight = 1 / (1 + ((at @ field - offset) / SIGMA) ** 2)
    fitted: Floats = field + median
    return fitted


def _weights_of(xy: Floats, size: tuple[int, int], shape: tuple[int, ...]) -> csr_array:  # (M, nodes)
    """Bilinear weights of the control points."""
    at = [xy[:, 1] / max(1, size[0] - 1) * (shape[0] - 1), xy[:, 0] / max(1, size[1] - 1) * (shape[1] - 1)]
    low = [np.clip(np.floor(a).astype(np.int64), 0, n - 2) for a, n in zip(at, shape, strict=True)]
    high = [np.clip(a - lo, 0, 1) for a, lo in zip(at, low, strict=True)]
    rows, columns, values = [], [], []
    for dy in range(2):
        for dx in range(2):
            rows.append(np.arange(len(xy)))
            columns.append((low[0] + dy) * shape[1] + low[1] + dx)
            values.append((high[0] if dy else 1 - high[0]) * (high[1] if dx else 1 - high[1]))
    flat = (np.concatenate(rows), np.concatenate(columns))
    return coo_array((np.concatenate(values), flat), shape=(len(xy), shape[0] * shape[1])).tocsr()


def _bending(shape: tuple[int, ...]) -> csr_array:  # (rows, nodes)
    """Second differences along both axes."""
    number = np.arange(shape[0] * shape[1]).reshape(shape)
    triples = [(number[:-2], number[1:-1], number[2:]), (number[:, :-2], number[:, 1:-1], number[:, 2:])]
    parts = []
    for before, middle, after in triples:
        n = before.size
        rows = np.tile(np.arange(n), 3)
        columns = np.concatenate([before.ravel(), middle.ravel(), after.ravel()])
        values = np.repeat([1.0, -2.0, 1.0], n)
        parts.append(coo_array((values, (rows, columns)), shape=(n, number.size)))
    return vstack(parts).tocsr()
