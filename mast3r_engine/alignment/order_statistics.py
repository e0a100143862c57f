"""Medians and orders of finite numbers, cheaper than numpy's general ones: no search for NaN, ties only where there are some."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def median(values: NDArray[np.float64]) -> float:
    """Median of a flat, non-empty array; the mean of the middle two where their number is even."""
    middle = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, middle)[middle])
    lower, upper = np.partition(values, (middle - 1, middle))[middle - 1 : middle + 1]
    return float(0.5 * (lower + upper))


def order_by(
    keys: NDArray[Any],  # (M,) numbers
    ties: NDArray[np.float64],  # (M,)
) -> NDArray[np.int64]:  # (M,)
    """Indices that sort by `keys`, among equal keys by `ties`, among equals of both as they stand."""
    order = np.argsort(keys)
    ordered = keys[order]
    if (ordered[1:] == ordered[:-1]).any():
        order = np.lexsort((ties, keys))
    return order.astype(np.int64, copy=False)
