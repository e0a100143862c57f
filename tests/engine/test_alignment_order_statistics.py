"""Medians and orders of finite numbers are numpy's."""

from __future__ import annotations

import numpy as np
import pytest

from mast3r_engine.alignment.order_statistics import median, order_by


@pytest.mark.parametrize("count", [1, 2, 3, 4, 129, 130])
def test_median_is_numpys(count: int) -> None:
    values = np.random.default_rng(count).standard_normal(count)
    before = values.copy()
    assert median(values) == np.median(values)
    np.testing.assert_array_equal(values, before)


def test_median_of_equal_numbers() -> None:
    assert median(np.full(6, 0.1)) == 0.1


@pytest.mark.parametrize("count", [0, 1, 2, 129, 130])
@pytest.mark.parametrize("distinct", [True, False])
def test_order_is_lexsorts_whether_or_not_keys_repeat(count: int, distinct: bool) -> None:
    rng = np.random.default_rng(count)
    keys = rng.permutation(count) if distinct else rng.integers(0, 5, count)
    ties = rng.integers(0, 3, count).astype(np.float64)
    np.testing.assert_array_equal(order_by(keys, ties), np.lexsort((ties, keys)))
