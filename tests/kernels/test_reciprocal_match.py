"""The op's reference against brute force by the written rule, on awkward sizes, ties and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from mast3r_kernels.reciprocal_match import ReciprocalSearch, UnusableDescriptorError, nearest, reciprocal_match
from mast3r_kernels.reciprocal_match import reference as reference_module
from mast3r_kernels.reciprocal_match.reference import nearest_reference, score_pairs

SIZES = [1, 2, 129, 130]


def unit(count: int, D: int, seed: int) -> Tensor:
    rows = torch.randn(count, D, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


def brute_force(a: Tensor, b: Tensor) -> NDArray[np.int64]:
    """The rule, literally: float64 products summed from the first component on; argmax takes the first of equals."""
    scores = np.zeros((len(a), len(b)))
    for d in range(a.shape[1]):
        scores += a[:, d, None].double().numpy() * b[None, :, d].double().numpy()
    return scores.argmax(axis=1)


def brute_walk(a: Tensor, b: Tensor, starts: list[int], iterations: int) -> set[tuple[int, int]]:
    """One path at a time, as the method is described."""
    f, g = brute_force(a, b), brute_force(b, a)
    ends = set()
    for start in starts:
        p, last_q = start, -1
        for _ in range(iterations):
            q = int(f[p])
            if q == last_q:
                ends.add((p, q))
                break
            back = int(g[q])
            if back == p:
                ends.add((p, q))
                break
            p, last_q = back, q
    return ends


def pairs(found: tuple[Tensor, Tensor]) -> set[tuple[int, int]]:
    return set(zip(found[0].tolist(), found[1].tolist(), strict=True))


@pytest.mark.parametrize("N", SIZES)
@pytest.mark.parametrize("M", SIZES)
@pytest.mark.parametrize("D", [1, 3, 24, 31])
def test_nearest_equals_brute_force(N: int, M: int, D: int) -> None:
    a, b = unit(N, D, 1), unit(M, D, 2)
    np.testing.assert_array_equal(nearest(a, b).numpy(), brute_force(a, b))


@pytest.mark.parametrize("N", SIZES)
@pytest.mark.parametrize("M", SIZES)
@pytest.mark.parametrize("from_b", [False, True])
def test_the_walk_equals_one_path_at_a_time(N: int, M: int, from_b: bool) -> None:
    a, b = unit(N, 6, 1), unit(M, 6, 2)
    count = M if from_b else N
    starts = list(range(0, count, 2))
    found = ReciprocalSearch(a, b).walk(torch.tensor(starts), from_b)
    if from_b:
        assert {(q, p) for p, q in pairs(found)} == brute_walk(b, a, starts, 10)
    else:
        assert pairs(found) == brute_walk(a, b, starts, 10)


@given(
    seed=st.integers(0, 10_000),
    N=st.integers(1, 60),
    M=st.integers(1, 60),
    D=st.integers(1, 9),
    levels=st.integers(1, 4),
    iterations=st.integers(1, 10),
)
@settings(max_examples=150, deadline=None)
def test_ties_go_to_the_lowest_index(seed: int, N: int, M: int, D: int, levels: int, iterations: int) -> None:
    """Few distinct components: most scores are shared by several rows, many rows are duplicates."""
    rng = np.random.default_rng(seed)
    a = torch.from_numpy(rng.integers(-levels, levels + 1, (N, D)).astype(np.float32) / 3)
    b = torch.from_numpy(rng.integers(-levels, levels + 1, (M, D)).astype(np.float32) / 3)
    np.testing.assert_array_equal(nearest(a, b).numpy(), brute_force(a, b))
    starts = torch.arange(0, N, 3)
    assert pairs(reciprocal_match(a, b, starts, iterations)) == brute_walk(a, b, starts.tolist(), iterations)


def test_near_ties_below_float32_are_told_apart() -> None:
    """Two rows whose float32 inner products are equal and whose scores are not."""
    query = torch.tensor([[1.0, 2.0**-13, 2.0**-13]])
    low = torch.tensor([1.0, 2.0**-13, 0.0])
    high = torch.tensor([1.0, 2.0**-13, 2.0**-14])
    assert (query[0] * low).sum().item() == (query[0] * high).sum().item()
    assert nearest(query, torch.stack([low, high])).tolist() == [1]
    assert nearest(query, torch.stack([high, low])).tolist() == [0]


def test_the_order_of_the_sum_is_the_rule() -> None:
    """In float64 the order of summation decides this one: 1 + 2^-53 - 1 is 0, while 1 - 1 + 2^-53 is not."""
    tiny = 2.0**-53
    query = torch.ones(1, 3)
    rows = torch.tensor([[1.0, -1.0, 0.0], [1.0, tiny, -1.0], [1.0, -1.0, tiny]])
    assert score_pairs(query.expand(3, 3), rows).tolist() == [0.0, 0.0, tiny]
    assert nearest(query, rows).tolist() == [2]
    assert nearest(query, rows[[1, 0]]).tolist() == [0]


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e4, 1e14])
def test_lengths_far_from_one(scale: float) -> None:
    a, b = unit(40, 24, 1) * scale, unit(60, 24, 2) * scale
    np.testing.assert_array_equal(nearest(a, b).numpy(), brute_force(a, b))


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


def test_equal_descriptors_everywhere() -> None:
    same = torch.full((130, 24), 0.2)
    assert nearest(same, same[:129]).tolist() == [0] * 130
    assert pairs(reciprocal_match(same, same, torch.arange(0, 130, 8))) == {(0, 0)}


def test_non_contiguous_input() -> None:
    wide = unit(260, 48, 3)
    a, b = wide[::2, ::2], wide.T[:24].T[1::2]
    assert not a.is_contiguous()
    np.testing.assert_array_equal(nearest(a, b).numpy(), brute_force(a.contiguous(), b.contiguous()))


def test_empty_sets() -> None:
    a, none = unit(5, 24, 1), torch.zeros(0, 24)
    assert nearest(none, a).shape == (0,)
    assert [len(found) for found in reciprocal_match(a, a, torch.zeros(0, dtype=torch.int64))] == [0, 0]
    assert [len(found) for found in reciprocal_match(a, none, torch.arange(5))] == [0, 0]
    assert [len(found) for found in ReciprocalSearch(none, a).walk(torch.arange(5), from_b=True)] == [0, 0]
    with pytest.raises(ValueError, match="b is empty"):
        nearest(a, none)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 2e15])
@pytest.mark.parametrize("which", ["a", "b"])
def test_unusable_numbers_are_named(bad: float, which: str) -> None:
    sets = {"a": unit(7, 24, 1), "b": unit(9, 24, 2)}
    sets[which][4, 3] = bad
    with pytest.raises(UnusableDescriptorError, match=f"row 4 of {which} holds NaN, infinity") as error:
        ReciprocalSearch(sets["a"], sets["b"])
    assert (error.value.which, error.value.row) == (which, 4)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(3, 4, dtype=torch.float64), torch.zeros(3, 4), "a is torch.float64"),
        (torch.zeros(3, 4), torch.zeros(3), r"b is torch.float32, \(3,\)"),
        (torch.zeros(3, 0), torch.zeros(3, 0), "a is torch.float32"),
        (torch.zeros(3, 4), torch.zeros(3, 5), "the same number of components"),
    ],
)
def test_sets_that_do_not_fit(a: Tensor, b: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReciprocalSearch(a, b)


@pytest.mark.parametrize(
    "indices", [torch.tensor([5]), torch.tensor([-1]), torch.tensor([0], dtype=torch.int32), torch.tensor([[0]])]
)
def test_indices_that_do_not_fit(indices: Tensor) -> None:
    search = ReciprocalSearch(unit(5, 4, 1), unit(9, 4, 2))
    with pytest.raises(ValueError, match="reciprocal_match: indices"):
        search.walk(indices)
    with pytest.raises(ValueError, match="reciprocal_match: indices"):
        search.nearest(indices)
