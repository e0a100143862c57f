"""What numbers of priors must be like, and the errors that say so."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mast3r_engine.errors import PriorsError

Floats = NDArray[np.float64]


def check_positive(what: str, value: Any, right: str) -> None:
    """PriorsError unless `value` is a finite number above 0; `right` says what it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not (np.isfinite(value) and value > 0):
        raise PriorsError(f"{what} is {value!r}; it must be above 0 ({right})")


def check_matrix(what: str, given: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """The values as an array; PriorsError unless they are finite and of that shape."""
    try:
        values = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise PriorsError(f"{what} is {given!r}; it must be numbers of shape {shape}") from None
    if values.shape != shape or not np.isfinite(values).all():
        raise PriorsError(f"{what} is {values.tolist()}; it must be finite numbers of shape {shape}")
    return values


def check_covariance(what: str, given: ArrayLike, size: int) -> Floats:  # (size, size)
    """The values as an array; PriorsError unless they are symmetric and positive definite."""
    values = check_matrix(what, given, (size, size))
    if np.abs(values - values.T).max() > 1e-6 * np.abs(values).max() or np.linalg.eigvalsh(values).min() <= 0:
        raise PriorsError(f"{what} is {values.tolist()}; it must be symmetric and positive definite")
    return values
