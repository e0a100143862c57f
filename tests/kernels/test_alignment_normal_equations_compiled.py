"""The compiled op against the reference: awkward sizes, strides, every path, any number of threads. A missing library fails."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from mast3r_kernels import KernelUnavailableError
from mast3r_kernels.alignment_normal_equations import PairBlocks, alignment_normal_equations, op
from mast3r_kernels.alignment_normal_equations.compiled import usable_paths
from mast3r_kernels.alignment_normal_equations.reference import HIDDEN
from tests.kernels.test_alignment_normal_equations import make_problem

ROUNDING = 1e-12  # float64, relative to the largest number of an array
SIZES = [[], [0], [1], [2], [129], [130], [1, 0, 2, 129, 130], [5000, 3, 9000]]


@pytest.fixture(params=["generic", "avx2", "avx512"])
def path(request: pytest.FixtureRequest) -> str:
    """Each path forced. What is not built fails (usable_paths raises); what this processor cannot run is skipped."""
    name = str(request.param)
    if name not in usable_paths():
        pytest.skip(f"this processor cannot run {name}")
    return name


def assert_close(found: PairBlocks, expected: PairBlocks) -> None:
    for field in fields(PairBlocks):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        np.testing.assert_allclose(a, b, rtol=0, atol=ROUNDING * np.abs(b).max(initial=0), err_msg=field.name)


@pytest.mark.parametrize("counts", SIZES)
@pytest.mark.parametrize("principal_points", [False, True])
def test_compiled_equals_reference(path: str, counts: list[int], principal_points: bool) -> None:
    matches, cameras, weight = make_problem(counts, seed=len(counts))
    found, expected = (
        alignment_normal_equations(matches, cameras, weight, 2.4, principal_points=principal_points, implementation=name)
        for name in (path, "reference")
    )
    assert_close(found, expected)
    np.testing.assert_array_equal(found.normal, np.swapaxes(found.normal, 1, 2))


def test_a_group_may_be_longer_than_a_block_of_matches(path: str) -> None:
    matches, cameras, weight = make_problem([300, 7])
    few = replace(matches, group_start=np.array([0, 1, 200, 300, 307]), pair_group_start=np.array([0, 3, 4]))
    at = replace(cameras, depth=cameras.depth[:4])
    found, expected = (alignment_normal_equations(few, at, weight, 2.4, implementation=name) for name in (path, "reference"))
    assert_close(found, expected)


def test_hidden_points_count_for_nothing(path: str) -> None:
    matches, cameras, weight = make_problem([129, 70])
    turned = cameras.rotation.copy()
    turned[0] = np.diag([-1.0, 1.0, -1.0])
    behind = replace(cameras, rotation=turned, translation=np.zeros((2, 3)))
    found, expected = (
        alignment_normal_equations(matches, behind, weight, 2.4, implementation=name) for name in (path, "reference")
    )
    assert (found.squared_error[:129] == HIDDEN).all()
    assert not found.normal[0].any()
    assert found.normal[1].any()
    assert_close(found, expected)


def test_strides_and_order_of_memory_do_not_matter(path: str) -> None:
    matches, cameras, weight = make_problem([129, 40])
    plain = alignment_normal_equations(matches, cameras, weight, 2.4, implementation=path)
    strided = alignment_normal_equations(
        replace(
            matches,
            source_xy=np.asfortranarray(matches.source_xy),
            target_xy=np.repeat(matches.target_xy, 2, axis=1)[:, ::2],
            offset=np.repeat(matches.offset, 3)[::3],
        ),
        replace(cameras, rotation=np.asfortranarray(cameras.rotation)),
        weight[::-1].copy()[::-1],
        2.4,
        implementation=path,
    )
    assert_same(plain, strided)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_the_number_of_threads_changes_nothing(path: str, threads: int) -> None:
    matches, cameras, weight = make_problem([9000, 2, 13000, 129], seed=5)
    one, many = (alignment_normal_equations(matches, cameras, weight, 2.4, implementation=path, threads=t) for t in (1, threads))
    assert_same(one, many)


def assert_same(a: PairBlocks, b: PairBlocks) -> None:
    for field in fields(PairBlocks):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), err_msg=field.name)


def test_the_compiled_op_runs_by_default_and_the_reference_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    matches, cameras, weight = make_problem([130, 129])
    by_default = alignment_normal_equations(matches, cameras, weight, 2.4)
    assert_same(by_default, alignment_normal_equations(matches, cameras, weight, 2.4, implementation=usable_paths()[0]))

    def not_built() -> tuple[str, ...]:
        raise KernelUnavailableError("not built")

    monkeypatch.setattr(op, "usable_paths", not_built)
    without = alignment_normal_equations(matches, cameras, weight, 2.4)
    assert_same(without, alignment_normal_equations(matches, cameras, weight, 2.4, implementation="reference"))


def test_a_path_that_cannot_be_had_is_an_error() -> None:
    matches, cameras, weight = make_problem([3])
    with pytest.raises(KernelUnavailableError, match=r"no path 'sse9' on this processor; it has .*generic"):
        alignment_normal_equations(matches, cameras, weight, 2.4, implementation="sse9")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("group_start", [0, 9, 4], "group_start must rise from 0 to 4"),
        ("group_start", [0, 4, 4], "a group without matches"),
        ("pair_start", [0, 3], "pair_start must rise from 0 to 4"),
        ("pair_group_start", [1, 2], "pair_group_start must rise from 0 to 2"),
    ],
)
def test_runs_that_would_be_read_beyond_the_arrays_are_refused(name: str, value: list[int], message: str) -> None:
    matches, cameras, weight = make_problem([4])
    two_groups = replace(matches, group_start=np.array([0, 1, 4]), pair_group_start=np.array([0, 2]))
    with pytest.raises(ValueError, match=message):
        alignment_normal_equations(
            replace(two_groups, **{name: np.array(value)}), replace(cameras, depth=np.ones(2)), weight, 2.4
        )
