"""The alignment's normal equations: reference against finite differences of the residuals, and against sums by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mast3r_kernels.alignment_normal_equations import DirectedMatches, PairBlocks, RelativeCameras, alignment_normal_equations
from mast3r_kernels.alignment_normal_equations.reference import HIDDEN

WIDE = 1e9  # a kernel so wide that every residual counts fully


def make_problem(counts: list[int], seed: int = 0) -> tuple[DirectedMatches, RelativeCameras, np.ndarray]:
    """Pairs with `counts` matches each; groups of one to three matches."""
    rng = np.random.default_rng(seed)
    groups = [np.cumsum(rng.random(n) < 0.5) for n in counts]
    starts = np.concatenate([[0], np.cumsum(counts)])
    first = [a + np.flatnonzero(np.diff(g, prepend=-1)) for a, g in zip(starts, groups, strict=False)]
    total = int(starts[-1])
    pairs, group_count = len(counts), sum(len(f) for f in first)
    matches = DirectedMatches(
        pair_start=starts.astype(np.int64),
        pair_group_start=np.concatenate([[0], np.cumsum([len(f) for f in first])]).astype(np.int64),
        group_start=np.append(np.concatenate(first), total).astype(np.int64) if total else np.zeros(1, np.int64),
        source_xy=rng.uniform(-100, 100, (2, total)),
        target_xy=rng.uniform(-100, 100, (2, total)),
        offset=rng.uniform(0.8, 1.2, total),
    )
    cameras = RelativeCameras(
        rotation=Rotation.from_rotvec(0.3 * rng.standard_normal((pairs, 3))).as_matrix().reshape(pairs, 3, 3),
        translation=0.4 * rng.standard_normal((pairs, 3)),
        source_focal=rng.uniform(200, 250, pairs),
        target_focal=rng.uniform(200, 250, pairs),
        source_shift=rng.standard_normal((pairs, 2)),
        target_shift=rng.standard_normal((pairs, 2)),
        depth=rng.uniform(2, 4, group_count),
    )
    return matches, cameras, rng.uniform(0.5, 2, total)


def half_squares(matches: DirectedMatches, cameras: RelativeCameras, weight: np.ndarray) -> float:
    return 0.5 * float(weight @ alignment_normal_equations(matches, cameras, weight, WIDE, principal_points=True).squared_error)


def moved(cameras: RelativeCameras, p: int, column: int, step: float) -> RelativeCameras:
    """Move one pair along one of its twelve columns."""
    R, t = cameras.rotation.copy(), cameras.translation.copy()
    if column < 3:
        turn = Rotation.from_rotvec(step * np.eye(3)[column]).as_matrix()
        R[p], t[p] = turn @ R[p], turn @ t[p]
    elif column < 6:
        t[p] += step * np.eye(3)[column - 3]
    focals, shifts = [cameras.source_focal.copy(), cameras.target_focal.copy()], [cameras.source_shift, cameras.target_shift]
    shifts = [shift.copy() for shift in shifts]
    if column in (6, 7):
        focals[column - 6][p] *= np.exp(step)
    elif column >= 8:
        shifts[(column - 8) // 2][p, column % 2] += step
    return RelativeCameras(R, t, *focals, *shifts, cameras.depth)


def test_gradients_match_finite_differences_of_the_cost() -> None:
    matches, cameras, weight = make_problem([7, 13, 2])
    blocks = alignment_normal_equations(matches, cameras, weight, WIDE, principal_points=True)
    for p in range(3):
        for column in range(12):
            h = 1e-6
            ahead, behind = (half_squares(matches, moved(cameras, p, column, s), weight) for s in (h, -h))
            assert blocks.gradient[p, column] == pytest.approx((ahead - behind) / (2 * h), rel=1e-5, abs=1e-2)


def test_depth_gradients_match_finite_differences_of_the_cost() -> None:
    matches, cameras, weight = make_problem([7, 5])
    blocks = alignment_normal_equations(matches, cameras, weight, WIDE, principal_points=True)
    for g in range(len(cameras.depth)):
        costs = []
        for step in (1e-6, -1e-6):
            depth = cameras.depth.copy()
            depth[g] *= np.exp(step)
            costs.append(half_squares(matches, replace(cameras, depth=depth), weight))
        assert blocks.groups[g, -1] == pytest.approx((costs[0] - costs[1]) / 2e-6, rel=1e-5, abs=1e-2)


def test_second_derivatives_match_differences_of_gradients_at_zero_residual() -> None:
    """Where all residuals vanish the Gauss-Newton matrix is the exact Hessian."""
    matches, cameras, weight = make_problem([9, 6])
    matches = at_zero_residual(matches, cameras)
    at = alignment_normal_equations(matches, cameras, weight, WIDE, principal_points=True)
    assert at.squared_error.max() < 1e-18
    for p in range(2):
        for column in range(12):
            steps = [moved(cameras, p, column, step) for step in (1e-6, -1e-6)]
            ahead, behind = (alignment_normal_equations(matches, c, weight, WIDE, principal_points=True) for c in steps)
            numeric = (ahead.gradient[p] - behind.gradient[p]) / 2e-6
            np.testing.assert_allclose(at.normal[p, column], numeric, rtol=1e-4, atol=1e-4 * np.abs(at.normal[p]).max())
            groups = slice(matches.pair_group_start[p], matches.pair_group_start[p + 1])
            numeric = (ahead.groups[groups, -1] - behind.groups[groups, -1]) / 2e-6
            np.testing.assert_allclose(at.groups[groups, column], numeric, rtol=1e-4, atol=1e-4 * np.abs(at.groups[groups]).max())


def at_zero_residual(matches: DirectedMatches, cameras: RelativeCameras) -> DirectedMatches:
    """Put every target pixel where its point is projected."""
    target = np.empty_like(matches.target_xy)
    for p, (a, b) in enumerate(zip(matches.pair_start[:-1], matches.pair_start[1:], strict=True)):
        groups = np.searchsorted(matches.group_start, np.arange(a, b), side="right") - 1
        depth = cameras.depth[groups] * matches.offset[a:b]
        centred = matches.source_xy[:, a:b] - cameras.source_shift[p][:, None]
        rays = np.vstack([centred / cameras.source_focal[p], np.ones(b - a)])
        Y = cameras.rotation[p] @ (rays * depth) + cameras.translation[p][:, None]
        target[:, a:b] = cameras.target_focal[p] * Y[:2] / Y[2] + cameras.target_shift[p][:, None]
    return replace(matches, target_xy=target)


def test_without_principal_points_their_columns_are_missing() -> None:
    matches, cameras, weight = make_problem([5, 3])
    with_them, without = (alignment_normal_equations(matches, cameras, weight, 3.0, principal_points=k) for k in (True, False))
    np.testing.assert_allclose(with_them.normal[:, :8, :8], without.normal)
    np.testing.assert_allclose(with_them.gradient[:, :8], without.gradient)
    np.testing.assert_allclose(with_them.groups[:, [*range(8), 12, 13]], without.groups)


def test_cauchy_kernel_shrinks_weights() -> None:
    matches, cameras, weight = make_problem([1])
    plain = alignment_normal_equations(matches, cameras, weight, WIDE)
    robust = alignment_normal_equations(matches, cameras, weight, 3.0)
    factor = 1 / (1 + weight[0] * plain.squared_error[0] / 9)
    np.testing.assert_allclose(robust.normal, plain.normal * factor, rtol=1e-12, atol=1e-12 * robust.normal.max())
    np.testing.assert_allclose(robust.groups, plain.groups * factor, rtol=1e-12, atol=1e-12 * robust.normal.max())


def test_points_behind_the_target_count_for_nothing() -> None:
    matches, cameras, weight = make_problem([4])
    behind = replace(cameras, rotation=np.diag([-1.0, 1.0, -1.0])[None], translation=np.zeros((1, 3)))
    blocks = alignment_normal_equations(matches, behind, weight, WIDE, principal_points=True)
    assert (blocks.squared_error == HIDDEN).all()
    assert not blocks.normal.any()
    assert not blocks.groups.any()


@pytest.mark.parametrize("counts", [[0], [0, 3, 0], [1], [129, 2, 130]])
def test_sums_of_pairs_are_independent(counts: list[int]) -> None:
    """A pair's sums are those of the pair alone; pairs without matches are zero."""
    matches, cameras, weight = make_problem(counts, seed=3)
    blocks = alignment_normal_equations(matches, cameras, weight, 3.0)
    for p, count in enumerate(counts):
        alone = one_pair(matches, cameras, weight, p)
        np.testing.assert_allclose(blocks.normal[p], alone.normal[0], rtol=1e-12)
        np.testing.assert_allclose(blocks.gradient[p], alone.gradient[0], rtol=1e-12)
        assert blocks.normal[p].any() == (count > 0)


def one_pair(matches: DirectedMatches, cameras: RelativeCameras, weight: np.ndarray, p: int) -> PairBlocks:
    a, b = matches.pair_start[p : p + 2]
    g, h = matches.pair_group_start[p : p + 2]
    part = DirectedMatches(
        pair_start=np.array([0, b - a]),
        pair_group_start=np.array([0, h - g]),
        group_start=matches.group_start[g : h + 1] - a,
        source_xy=matches.source_xy[:, a:b],
        target_xy=matches.target_xy[:, a:b],
        offset=matches.offset[a:b],
    )
    only = RelativeCameras(
        cameras.rotation[p : p + 1],
        cameras.translation[p : p + 1],
        cameras.source_focal[p : p + 1],
        cameras.target_focal[p : p + 1],
        cameras.source_shift[p : p + 1],
        cameras.target_shift[p : p + 1],
        cameras.depth[g:h],
    )
    return alignment_normal_equations(part, only, weight[a:b], 3.0)


def test_arrays_that_do_not_fit_are_named() -> None:
    matches, cameras, weight = make_problem([4])
    with pytest.raises(ValueError, match="offset has shape"):
        alignment_normal_equations(replace(matches, offset=matches.offset[:-1]), cameras, weight, 3.0)
