"""Every implementation of the op against brute force by the written rule: awkward sizes, ties, near ties, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mast3r_kernels.reciprocal_match import ReciprocalSearch, UnusableDescriptorError, nearest, reciprocal_match
from mast3r_kernels.reciprocal_match.compiled import usable_paths
from tests.kernels.brute_force import SIZES, brute_force, brute_walk, pairs, unit

each_implementation = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=["reference", "generic", "avx2", "avx512", "avx512_vnni"])
def implementation(request: pytest.FixtureRequest) -> str:
    """Each path forced. What is not built fails (usable_paths raises); what this processor cannot run is skipped."""
    name = str(request.param)
    if name != "reference" and name not in usable_paths():
        pytest.skip(f"this processor cannot run {name}")
    return name


def smooth(H: int, W: int, D: int, seed: int, noise: float = 0.05) -> Tensor:
    """A map whose neighbours are alike, as a network's are: (H * W, D)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, D, H // 8 + 2, W // 8 + 2, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(H, W), mode="bicubic") + noise * torch.randn(
        1, D, H, W, generator=generator
    )
    return torch.nn.functional.normalize(fine[0].flatten(1).T, dim=1)


# --- sizes and walks


@pytest.mark.parametrize("N", SIZES)
@pytest.mark.parametrize("M", SIZES)
@pytest.mark.parametrize("D", [1, 3, 24, 31])
def test_nearest_equals_brute_force(implementation: str, N: int, M: int, D: int) -> None:
    a, b = unit(N, D, 1), unit(M, D, 2)
    np.testing.assert_array_equal(nearest(a, b, implementation).numpy(), brute_force(a, b))


@pytest.mark.parametrize("N", SIZES)
@pytest.mark.parametrize("M", SIZES)
@pytest.mark.parametrize("from_b", [False, True])
def test_the_walk_equals_one_path_at_a_time(implementation: str, N: int, M: int, from_b: bool) -> None:
    a, b = unit(N, 6, 1), unit(M, 6, 2)
    starts = list(range(0, M if from_b else N, 2))
    found = ReciprocalSearch(a, b, implementation=implementation).walk(torch.tensor(starts), from_b)
    if from_b:
        assert {(q, p) for p, q in pairs(found)} == brute_walk(b, a, starts, 10)
    else:
        assert pairs(found) == brute_walk(a, b, starts, 10)


@pytest.mark.parametrize(("H", "W"), [(40, 50), (8, 8), (9, 17), (1, 300), (300, 1), (7, 64), (64, 7)])
@pytest.mark.parametrize("noise", [0.0, 0.05, 3.0])
def test_maps_of_any_shape_with_and_without_their_width(implementation: str, H: int, W: int, noise: float) -> None:
    a, b = smooth(H, W, 24, 1, noise), smooth(W, H, 24, 1, noise)
    expected = brute_force(a, b)
    everyone = torch.arange(len(a))
    for widths in [(0, 0), (W, H), (H, W), (5, 3), (10**6, 1)]:  # a wrong width costs speed alone
        search = ReciprocalSearch(a, b, *widths, implementation=implementation)
        np.testing.assert_array_equal(search.nearest(everyone).numpy(), expected)


def test_one_thread_and_many_give_the_same(implementation: str) -> None:
    a, b = smooth(48, 64, 24, 1), smooth(48, 64, 24, 2)
    starts = torch.arange(0, len(a), 5)
    found = [ReciprocalSearch(a, b, 64, 64, implementation=implementation, threads=threads).walk(starts) for threads in (1, 2, 7)]
    for other in found[1:]:
        assert torch.equal(other[0], found[0][0])
        assert torch.equal(other[1], found[0][1])
    assert pairs(found[0]) == brute_walk(a, b, starts.tolist(), 10)


def test_what_was_searched_before_does_not_change_what_is_found(implementation: str) -> None:
    a, b = smooth(20, 30, 24, 1), smooth(20, 30, 24, 2)
    search = ReciprocalSearch(a, b, 30, 30, implementation=implementation)
    starts = torch.arange(0, 600, 7)
    for _ in range(2):
        assert pairs(search.walk(starts)) == brute_walk(a, b, starts.tolist(), 10)
        assert {(q, p) for p, q in pairs(search.walk(starts, from_b=True))} == brute_walk(b, a, starts.tolist(), 10)
    np.testing.assert_array_equal(search.nearest(starts, from_b=True).numpy(), brute_force(b, a)[starts.numpy()])


# --- ties and near ties


@given(
    seed=st.integers(0, 10_000),
    N=st.integers(1, 60),
    M=st.integers(1, 200),
    D=st.integers(1, 9),
    levels=st.integers(1, 4),
    iterations=st.integers(1, 10),
)
@each_implementation
def test_ties_go_to_the_lowest_index(
    implementation: str, seed: int, N: int, M: int, D: int, levels: int, iterations: int
) -> None:
    """Few distinct components: most scores are shared by several rows, many rows are duplicates."""
    rng = np.random.default_rng(seed)
    a = torch.from_numpy(rng.integers(-levels, levels + 1, (N, D)).astype(np.float32) / 3)
    b = torch.from_numpy(rng.integers(-levels, levels + 1, (M, D)).astype(np.float32) / 3)
    np.testing.assert_array_equal(nearest(a, b, implementation).numpy(), brute_force(a, b))
    starts = torch.arange(0, N, 3)
    found = reciprocal_match(a, b, starts, iterations, implementation)
    assert pairs(found) == brute_walk(a, b, starts.tolist(), iterations)


@given(seed=st.integers(0, 10_000), spread=st.sampled_from([1e-8, 1e-7, 1e-6, 1e-4, 1e-2]), D=st.sampled_from([2, 5, 24]))
@each_implementation
def test_near_ties_in_many_tiles(implementation: str, seed: int, spread: float, D: int) -> None:
    """All rows are one vector but for a spread about or below what float32 products, or 8 bits, tell apart."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(1, D, generator=generator)
    a = base + spread * torch.randn(20, D, generator=generator)
    b = base + spread * torch.randn(400, D, generator=generator)
    np.testing.assert_array_equal(nearest(a, b, implementation).numpy(), brute_force(a, b))


@given(seed=st.integers(0, 10_000), log_scale=st.floats(-18, 14), log_range=st.floats(0, 12))
@each_implementation
def test_lengths_far_from_one_and_from_each_other(implementation: str, seed: int, log_scale: float, log_range: float) -> None:
    generator = torch.Generator().manual_seed(seed)

    def rows(count: int) -> Tensor:
        lengths = 10 ** (log_scale - log_range * torch.rand(count, 1, generator=generator, dtype=torch.float64))
        return (torch.randn(count, 7, generator=generator).clamp(-3, 3) * lengths).float()

    a, b = rows(30), rows(150)
    np.testing.assert_array_equal(nearest(a, b, implementation).numpy(), brute_force(a, b))


def test_near_ties_below_float32_are_told_apart(implementation: str) -> None:
    """Two rows whose float32 inner products are equal and whose scores are not."""
    query = torch.tensor([[1.0, 2.0**-13, 2.0**-13]])
    low = torch.tensor([1.0, 2.0**-13, 0.0])
    high = torch.tensor([1.0, 2.0**-13, 2.0**-14])
    assert (query[0] * low).sum().item() == (query[0] * high).sum().item()
    assert nearest(query, torch.stack([low, high]), implementation).tolist() == [1]
    assert nearest(query, torch.stack([high, low]), implementation).tolist() == [0]


def test_the_order_of_the_sum_is_the_rule(implementation: str) -> None:
    """In float64 the order of summation decides this one: 1 + 2^-53 - 1 is 0, while 1 - 1 + 2^-53 is not."""
    query = torch.ones(1, 3)
    rows = torch.tensor([[1.0, -1.0, 0.0], [1.0, 2.0**-53, -1.0], [1.0, -1.0, 2.0**-53]])
    assert nearest(query, rows, implementation).tolist() == [2]
    assert nearest(query, rows[[1, 0]], implementation).tolist() == [0]


def test_equal_descriptors_everywhere(implementation: str) -> None:
    same = torch.full((1300, 24), 0.2)
    assert nearest(same, same[:129], implementation).tolist() == [0] * 1300
    assert pairs(reciprocal_match(same, same, torch.arange(0, 1300, 8), implementation=implementation)) == {(0, 0)}
    zero = torch.zeros(200, 24)
    assert nearest(zero, zero, implementation).tolist() == [0] * 200


def test_the_smallest_numbers_count_whatever_the_thread_is_set_to(implementation: str) -> None:
    """Rows that differ by denormal numbers alone."""
    query, rows = torch.full((1, 4), 1.0), torch.zeros(130, 4)
    rows[77, 2] = 1e-42
    assert nearest(query, rows, implementation).tolist() == [77]
    if implementation == "reference":
        return  # torch's own products obey the switch
    try:
        torch.set_flush_denormal(True)
        assert nearest(query, rows, implementation).tolist() == [77]
    finally:
        torch.set_flush_denormal(False)


# --- input


@pytest.mark.parametrize("D", [1, 2, 4, 5, 23, 25, 64, 700])
def test_any_number_of_components(implementation: str, D: int) -> None:
    a, b = unit(53, D, 1), unit(260, D, 2)
    np.testing.assert_array_equal(nearest(a, b, implementation).numpy(), brute_force(a, b))


def test_non_contiguous_input(implementation: str) -> None:
    wide = unit(260, 48, 3)
    a, b = wide[::2, ::2], wide.T[:24].T[1::2]
    assert not a.is_contiguous()
    np.testing.assert_array_equal(nearest(a, b, implementation).numpy(), brute_force(a.contiguous(), b.contiguous()))
    search = ReciprocalSearch(a, b, implementation=implementation)
    np.testing.assert_array_equal(search.nearest(torch.arange(130)[::3]).numpy(), brute_force(a, b)[::3])


def test_empty_sets(implementation: str) -> None:
    a, none = unit(5, 24, 1), torch.zeros(0, 24)
    nobody, everyone = torch.zeros(0, dtype=torch.int64), torch.arange(5)
    assert nearest(none, a, implementation).shape == (0,)
    assert [len(found) for found in reciprocal_match(a, a, nobody, implementation=implementation)] == [0, 0]
    assert [len(found) for found in reciprocal_match(a, none, everyone, implementation=implementation)] == [0, 0]
    from_b = ReciprocalSearch(none, a, implementation=implementation).walk(everyone, from_b=True)
    assert [len(found) for found in from_b] == [0, 0]
    with pytest.raises(ValueError, match="b is empty"):
        nearest(a, none, implementation)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 2e15])
@pytest.mark.parametrize("which", ["a", "b"])
def test_unusable_numbers_are_named(implementation: str, bad: float, which: str) -> None:
    sets = {"a": unit(200, 24, 1), "b": unit(300, 24, 2)}
    sets[which][104, 3] = bad
    sets[which][187, 0] = bad
    with pytest.raises(UnusableDescriptorError, match=f"row 104 of {which} holds NaN, infinity") as error:
        ReciprocalSearch(sets["a"], sets["b"], 20, 20, implementation=implementation)
    assert (error.value.which, error.value.row) == (which, 104)


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
def test_indices_that_do_not_fit(implementation: str, indices: Tensor) -> None:
    search = ReciprocalSearch(unit(5, 4, 1), unit(9, 4, 2), implementation=implementation)
    with pytest.raises(ValueError, match="reciprocal_match: indices"):
        search.walk(indices)
    with pytest.raises(ValueError, match="reciprocal_match: indices"):
        search.nearest(indices)
