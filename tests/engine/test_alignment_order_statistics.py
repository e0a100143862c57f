"""The median of finite numbers is numpy's."""

from __future__ import annotations

import numpy as np
import pytest

from mast3r_engine.alignment.order_statistics import median


@pytest.mark.parametrize("count", [1, 2, 3, 4, 129, 130])
def test_median_is_numpys(count: int) -> None:
    values = np.random.default_rng(count).standard_normal(count)
    before = values.copy()
    assert median(values) == np.median(values)
    np.testing.assert_array_equal(values, before)


def test_median_of_equal_numbers() -> None:
    assert median(np.full(6, 0.1)) == 0.1
