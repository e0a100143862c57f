"""Correspondences of several runs as one sorted list without duplicates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def merge(
    idx_a: Indices,  # (M,) flat pixel indices
    idx_b: Indices,  # (M,)
) -> tuple[Indices, Indices, Indices]:  # (K,), (K,), and (K,) where each pair first stood in the input
    """Sort pairs by `idx_a`, then `idx_b`, and keep each once; one pixel may keep several partners."""
    order = np.lexsort((idx_b, idx_a))  # stable: of equal pairs the first in the input comes first
    a, b = idx_a[order], idx_b[order]
    fresh = np.ones(len(a), bool)
    fresh[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    return a[fresh], b[fresh], order[fresh]
