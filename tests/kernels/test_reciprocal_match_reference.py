"""What the reference alone promises: its blocks do not matter, nor what precision the process allows for products."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mast3r_kernels.reciprocal_match import reference as reference_module
from mast3r_kernels.reciprocal_match.reference import nearest_reference, score_pairs
from tests.kernels.brute_force import brute_force, unit


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 5), (64, 1)])
def test_block_sizes_do_not_matter(rows: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = unit(50, 8, 1), unit(60, 8, 2)
    b[30:] = b[:30]
    monkeypatch.setattr(reference_module, "QUERY_ROWS", rows)
    monkeypatch.setattr(reference_module, "DATABASE_ROWS", columns)
    monkeypatch.setattr(reference_module, "CANDIDATES", 3)
    np.testing.assert_array_equal(nearest_reference(a, b).numpy(), brute_force(a, b))


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_products_of_less_precision_do_not_change_the_answer(precision: str) -> None:
    a, b = unit(200, 24, 1), unit(300, 24, 2)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        found = nearest_reference(a, b)
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(found.numpy(), brute_force(a, b))


def test_scores_are_summed_in_float64_from_the_first_component_on() -> None:
    rows = torch.tensor([[1.0, -1.0, 0.0], [1.0, 2.0**-53, -1.0], [1.0, -1.0, 2.0**-53]])
    assert score_pairs(torch.ones(3, 3), rows).tolist() == [0.0, 0.0, 2.0**-53]
