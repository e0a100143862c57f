"""Matching against the recorded results of the published method, brute force on small maps, and awkward shapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mast3r_engine.errors import NetworkOutputError
from mast3r_engine.matching import DescribedView, described, match, match_one_pass, match_symmetric
from mast3r_engine.matching.merge import merge
from mast3r_engine.matching.reciprocal import start_grid
from mast3r_engine.predictions import ViewPrediction

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "matching.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[np.generic]]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def view(golden: dict[str, NDArray[np.generic]], name: str) -> DescribedView:
    return DescribedView(torch.from_numpy(golden["D" + name]), torch.from_numpy(golden["Q" + name]))


def unit_map(H: int, W: int, D: int = 24, seed: int = 0) -> NDArray[np.float32]:
    desc = np.random.default_rng(seed).standard_normal((H, W, D)).astype(np.float32)
    return np.asarray(desc / np.linalg.norm(desc, axis=-1, keepdims=True), np.float32)


# --- golden


@pytest.mark.parametrize("S", [8, 4])
def test_golden_fast(golden: dict[str, NDArray[np.generic]], S: int) -> None:
    xy_a, xy_b = match(golden["D11"], golden["D21"], subsample=S)  # type: ignore[arg-type]
    np.testing.assert_array_equal(xy_a, golden[f"fast{S}_xy1"], strict=True)
    np.testing.assert_array_equal(xy_b, golden[f"fast{S}_xy2"], strict=True)


@pytest.mark.parametrize("S", [8, 4])
def test_golden_symmetric(golden: dict[str, NDArray[np.generic]], S: int) -> None:
    passes = (view(golden, "11"), view(golden, "21")), (view(golden, "22"), view(golden, "12"))
    matches = match_symmetric(3, 7, *passes, subsample=S)
    assert (matches.i, matches.j) == (3, 7)
    np.testing.assert_array_equal(matches.xy_i, golden[f"sym{S}_xy1"], strict=True)
    np.testing.assert_array_equal(matches.xy_j, golden[f"sym{S}_xy2"], strict=True)
    np.testing.assert_array_equal(matches.conf, golden[f"sym{S}_conf"], strict=True)


@pytest.mark.parametrize(("name", "pixel_tol"), [("nonsym8", 0.0), ("tol5", 5.0)])
def test_golden_one_pass(golden: dict[str, NDArray[np.generic]], name: str, pixel_tol: float) -> None:
    matches = match_one_pass(0, 1, (view(golden, "11"), view(golden, "21")), subsample=8, pixel_tol=pixel_tol)
    np.testing.assert_array_equal(matches.xy_i, golden[f"{name}_xy1"], strict=True)
    np.testing.assert_array_equal(matches.xy_j, golden[f"{name}_xy2"], strict=True)
    np.testing.assert_array_equal(matches.conf, golden[f"{name}_conf"], strict=True)


# --- brute force


def full_nearest(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.int64]:
    D = a.shape[-1]
    scores = np.zeros((a.size // D, b.size // D))
    for d in range(D):
        scores += np.outer(a[..., d].astype(np.float64), b[..., d].astype(np.float64))
    return scores.argmax(axis=1)


shapes = st.tuples(st.integers(1, 9), st.integers(1, 11))


@given(shape_a=shapes, shape_b=shapes, S=st.integers(1, 9), levels=st.sampled_from([0, 1, 2]), seed=st.integers(0, 999))
@settings(max_examples=150, deadline=None)
def test_matches_are_the_mutual_pairs_that_the_grid_flows_to(
    shape_a: tuple[int, int], shape_b: tuple[int, int], S: int, levels: int, seed: int
) -> None:
    if levels:  # few levels: ties and duplicates
        rng = np.random.default_rng(seed)
        a = rng.integers(-levels, levels + 1, (*shape_a, 3)).astype(np.float32)
        b = rng.integers(-levels, levels + 1, (*shape_b, 3)).astype(np.float32)
    else:
        a, b = unit_map(*shape_a, D=3, seed=seed), unit_map(*shape_b, D=3, seed=seed + 1)
    xy_a, xy_b = match(a, b, subsample=S)
    f, g = full_nearest(a, b), full_nearest(b, a)
    expected = set()
    for y in range(S // 2, shape_a[0], S):
        for x in range(S // 2, shape_a[1], S):
            p = y * shape_a[1] + x
            for _ in range(10):
                if g[f[p]] == p:
                    expected.add((p, int(f[p])))
                    break
                p = int(g[f[p]])
    rows = [(int(ya * shape_a[1] + xa), int(yb * shape_b[1] + xb)) for (xa, ya), (xb, yb) in zip(xy_a, xy_b, strict=True)]
    assert rows == sorted(expected)


def test_smooth_fields_are_matched_where_they_agree() -> None:
    """The second map is the first, shifted by (5, 3): every match must say so, wherever both see the point."""
    field = unit_map(40, 56, seed=3)
    xy_a, xy_b = match(field[:32, :48], field[3:35, 5:53], subsample=4)
    inside = (xy_a[:, 0] >= 5) & (xy_a[:, 1] >= 3)
    assert inside.sum() >= 70
    np.testing.assert_array_equal(xy_a[inside] - xy_b[inside], np.tile([5, 3], (inside.sum(), 1)))


# --- properties


def test_swapping_the_images_swaps_the_symmetric_matches(golden: dict[str, NDArray[np.generic]]) -> None:
    pass_ij, pass_ji = (view(golden, "11"), view(golden, "21")), (view(golden, "22"), view(golden, "12"))
    one, other = match_symmetric(0, 1, pass_ij, pass_ji), match_symmetric(1, 0, pass_ji, pass_ij)
    rows = {(*p, *q) for p, q in zip(one.xy_i.tolist(), one.xy_j.tolist(), strict=True)}
    swapped = {(*q, *p) for p, q in zip(other.xy_i.tolist(), other.xy_j.tolist(), strict=True)}
    assert rows == swapped
    assert len(one) == len(rows) == 328


def test_tolerance_reports_grid_pixels_alone_on_the_side_searched_from(golden: dict[str, NDArray[np.generic]]) -> None:
    matches = match_one_pass(0, 1, (view(golden, "11"), view(golden, "21")), subsample=8, pixel_tol=5.0)
    on_grid_i = (matches.xy_i % 8 == 4).all(axis=1)
    on_grid_j = (matches.xy_j % 8 == 4).all(axis=1)
    assert (on_grid_i | on_grid_j).all()
    assert not on_grid_i.all()
    assert not on_grid_j.all()


@pytest.mark.parametrize(
    ("H", "W", "S", "expected"),
    [
        (5, 7, 2, [8, 10, 12, 22, 24, 26]),
        (1, 4, 1, [0, 1, 2, 3]),
        (1, 9, 8, []),
        (3, 4, 8, []),
        (5, 5, 8, [24]),
        (0, 5, 1, []),
    ],
)
def test_the_start_grid(H: int, W: int, S: int, expected: list[int]) -> None:
    assert start_grid(H, W, S).tolist() == expected


def test_merge_sorts_and_keeps_the_first_of_equals() -> None:
    a, b, first = merge(np.array([4, 2, 4, 2, 4]), np.array([1, 9, 0, 9, 1]))
    assert a.tolist() == [2, 4, 4]
    assert b.tolist() == [9, 0, 1]
    assert first.tolist() == [1, 2, 0]
    assert [len(x) for x in merge(np.zeros(0, np.int64), np.zeros(0, np.int64))] == [0, 0, 0]


# --- awkward shapes and kinds of input


@pytest.mark.parametrize("shapes", [((17, 30), (30, 17)), ((1, 130), (9, 1)), ((2, 1), (1, 129))])
def test_sides_that_the_step_does_not_divide(shapes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    a, b = unit_map(*shapes[0], seed=1), unit_map(*shapes[1], seed=2)
    xy_a, xy_b = match(a, b, subsample=1)
    f, g = full_nearest(a, b), full_nearest(b, a)
    flat_a, flat_b = xy_a[:, 0] + shapes[0][1] * xy_a[:, 1], xy_b[:, 0] + shapes[1][1] * xy_b[:, 1]
    assert len(flat_a) > 0
    np.testing.assert_array_equal(f[flat_a], flat_b)
    np.testing.assert_array_equal(g[flat_b], flat_a)


def test_an_empty_start_set_gives_empty_arrays() -> None:
    for matches in match(unit_map(3, 50), unit_map(20, 20)):
        assert matches.shape == (0, 2)
        assert matches.dtype == np.int64
    tiny = DescribedView(torch.from_numpy(unit_map(3, 50)), torch.ones(3, 50))
    found = match_symmetric(0, 1, (tiny, tiny), (tiny, tiny))
    assert len(found) == 0
    assert found.xy_i.shape == found.xy_j.shape == (0, 2)
    assert len(match_one_pass(0, 1, (tiny, tiny), pixel_tol=3.0)) == 0


@pytest.mark.parametrize(
    "kind",
    [
        torch.from_numpy,
        lambda array: torch.from_numpy(array).double(),
        lambda array: torch.from_numpy(array).requires_grad_(),
        lambda array: torch.from_numpy(array).permute(2, 0, 1).contiguous().permute(1, 2, 0),
        np.asfortranarray,
        lambda array: array[::-1].copy()[::-1],
    ],
)
def test_all_kinds_of_arrays_give_the_same(kind: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
    a, b = unit_map(20, 30, seed=1), unit_map(25, 20, seed=2)
    for found, expected in zip(match(kind(a), kind(b), 4), match(a, b, 4), strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)


# --- bad predictions


@pytest.mark.parametrize("side", [0, 1])
def test_nan_names_the_image_and_the_pixel(side: int) -> None:
    maps = [unit_map(12, 16, seed=1), unit_map(12, 16, seed=2)]
    maps[side][7, 9, 3] = np.nan
    with pytest.raises(NetworkOutputError, match=rf"^image {'ab'[side]}: the descriptor of pixel \(9, 7\) is not finite"):
        match(maps[0], maps[1])
    views = tuple(DescribedView(torch.from_numpy(desc), torch.ones(12, 16)) for desc in maps)
    with pytest.raises(
        NetworkOutputError, match=rf"^image {[5, 8][side]} \(with image {[8, 5][side]}\): the descriptor of pixel"
    ):
        match_one_pass(5, 8, (views[0], views[1]))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((4, 24)), unit_map(4, 4), r"image a: descriptors have shape \(4, 24\)"),
        (unit_map(4, 4), unit_map(4, 4, D=16), "image a has 24 descriptor components and image b 16"),
        (np.zeros((4, 4, 0)), np.zeros((4, 4, 0)), r"image a: descriptors have shape \(4, 4, 0\)"),
    ],
)
def test_shapes_that_do_not_fit(a: NDArray[np.float32], b: NDArray[np.float32], message: str) -> None:
    with pytest.raises(NetworkOutputError, match=message):
        match(a, b)


@pytest.mark.parametrize("conf", [torch.full((12, 16), torch.nan), torch.full((12, 16), -1.0), torch.ones(16, 12)])
def test_confidences_that_cannot_be_used(conf: torch.Tensor) -> None:
    desc = torch.from_numpy(unit_map(12, 16))
    good, bad = DescribedView(desc, torch.ones(12, 16)), DescribedView(desc, conf)
    with pytest.raises(NetworkOutputError, match=r"^image 1 \(with image 0\): .*confidences"):
        match_one_pass(0, 1, (good, bad))


def test_described_takes_one_item_and_falls_back_on_the_3d_confidence() -> None:
    desc = torch.from_numpy(np.stack([unit_map(4, 6, seed=1), unit_map(4, 6, seed=2)]))
    conf, desc_conf = torch.rand(2, 4, 6) + 1, torch.rand(2, 4, 6)
    points = torch.zeros(2, 4, 6, 3)
    with_own = described(ViewPrediction(points, conf, desc, desc_conf), 1, "image 0")
    assert torch.equal(with_own.desc, desc[1])
    assert torch.equal(with_own.conf, desc_conf[1])
    assert torch.equal(described(ViewPrediction(points, conf, desc), 0, "image 0").conf, conf[0])
    with pytest.raises(NetworkOutputError, match="image 0: the network gives no descriptors"):
        described(ViewPrediction(points, conf), 0, "image 0")
