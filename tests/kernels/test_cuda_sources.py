"""The CUDA sources: compiled by nvcc where it is found, and run here over the stand-in runtime against the op's reference."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mast3r_kernels.alignment_normal_equations.arrays import DirectedMatches
from mast3r_kernels.alignment_normal_equations.cuda import ResidentMatches
from mast3r_kernels.alignment_normal_equations.reference import alignment_normal_equations_reference
from mast3r_kernels.cuda import ALIGNMENT_NORMAL_EQUATIONS, CUDA_OPS, RECIPROCAL_MATCH, ROPE2D, CudaOp, compile_command
from mast3r_kernels.reciprocal_match.cuda import CudaPairSearch, CudaSearch
from mast3r_kernels.rope2d.cuda import rope2d_cuda
from mast3r_kernels.rope2d.reference import rope2d_reference
from tests.kernels.brute_force import SIZES, brute_force, brute_walk, pairs, unit
from tests.kernels.cuda_stand_in import stand_in_library
from tests.kernels.test_alignment_normal_equations import make_problem


@pytest.mark.skipif(not shutil.which("nvcc"), reason="nvcc is not installed")
@pytest.mark.parametrize("op", CUDA_OPS, ids=lambda op: op.name)
def test_nvcc_compiles_it_for_a100_and_h100(op: CudaOp, tmp_path: Path) -> None:
    library = tmp_path / "op.so"
    done = subprocess.run(compile_command(op, library), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    if shutil.which("cuobjdump"):
        listed = subprocess.run(["cuobjdump", "--list-elf", str(library)], capture_output=True, text=True, check=True).stdout
        assert "sm_80" in listed
        assert "sm_90" in listed


# --- reciprocal_match


def pair_search(a: Tensor, b: Tensor) -> CudaPairSearch:
    return CudaPairSearch(a, b, stand_in_library(RECIPROCAL_MATCH))


def everyone(a: Tensor) -> Tensor:
    return torch.arange(len(a))


@pytest.mark.parametrize("N", SIZES)
@pytest.mark.parametrize("M", SIZES)
@pytest.mark.parametrize("D", [1, 24, 32])
def test_nearest_equals_brute_force(N: int, M: int, D: int) -> None:
    a, b = unit(N, D, 1), unit(M, D, 2)
    np.testing.assert_array_equal(pair_search(a, b).nearest(everyone(a), False).numpy(), brute_force(a, b))
    np.testing.assert_array_equal(pair_search(a, b).nearest(everyone(b), True).numpy(), brute_force(b, a))


@pytest.mark.parametrize("from_b", [False, True])
@pytest.mark.parametrize(("N", "M"), [(1, 1), (2, 129), (130, 2), (130, 129), (700, 600)])
def test_the_walk_equals_one_path_at_a_time(N: int, M: int, from_b: bool) -> None:
    a, b = unit(N, 6, 1), unit(M, 6, 2)
    here, there = (b, a) if from_b else (a, b)
    starts = torch.arange(0, len(here), 3)
    assert pairs(pair_search(a, b).walk(starts, from_b, 10)) == brute_walk(here, there, starts.tolist(), 10)


def test_ties_go_to_the_lowest_index_and_padding_never_wins() -> None:
    few = -unit(3, 8, 1).abs()
    a = unit(40, 8, 2).abs()
    np.testing.assert_array_equal(pair_search(a, few).nearest(everyone(a), False).numpy(), brute_force(a, few))  # all scores < 0
    twice = torch.cat([few, few, unit(200, 8, 3), few])
    np.testing.assert_array_equal(pair_search(a, twice).nearest(everyone(a), False).numpy(), brute_force(a, twice))
    zeros = torch.zeros(130, 8)
    assert not pair_search(zeros, zeros).nearest(everyone(zeros), False).any()


@pytest.mark.parametrize("step", [1e-3, 1e-5, 1e-6, 1e-7])
def test_near_ties_below_half_precision_are_told_apart(step: float) -> None:
    middle = unit(1, 24, 1)
    b = middle + step * torch.randn(300, 24, generator=torch.Generator().manual_seed(2))
    a = middle + step * torch.randn(60, 24, generator=torch.Generator().manual_seed(3))
    np.testing.assert_array_equal(pair_search(a, b).nearest(everyone(a), False).numpy(), brute_force(a, b))


@pytest.mark.parametrize(("of_a", "of_b"), [(1e15, 1e15), (1e-30, 1e15), (1e-41, 1.0), (1.0, 1e-41)])
def test_any_scale_and_rows_of_very_different_lengths(of_a: float, of_b: float) -> None:
    lengths = torch.logspace(-6, 0, 130)[:, None]
    a, b = unit(130, 5, 1) * lengths * of_a, unit(130, 5, 2) * lengths.flip(0) * of_b
    np.testing.assert_array_equal(pair_search(a, b).nearest(everyone(a), False).numpy(), brute_force(a, b))


def test_more_queries_than_there_is_room_for_are_searched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mast3r_kernels.reciprocal_match.cuda.MOST_TOPS", 1)
    a, b = unit(300, 6, 1), unit(70, 6, 2)
    np.testing.assert_array_equal(pair_search(a, b).nearest(everyone(a), False).numpy(), brute_force(a, b))
    assert pairs(pair_search(a, b).walk(everyone(a), False, 10)) == brute_walk(a, b, list(range(300)), 10)


def test_several_pairs_at_once_find_what_each_finds_alone() -> None:
    a, b = torch.stack([unit(130, 6, s) for s in range(3)]), torch.stack([unit(129, 6, 9 + s) for s in range(3)])
    starts = torch.arange(0, 130, 2)
    here, there = CudaSearch(a, b, stand_in_library(RECIPROCAL_MATCH)).walk(starts.expand(3, -1), False, 10)
    for p in range(3):
        ended = here[p] >= 0
        assert pairs((here[p][ended], there[p][ended])) == brute_walk(a[p], b[p], starts.tolist(), 10)


# --- rope2d


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("C", [4, 12, 64])
@pytest.mark.parametrize("layout", ["plain", "heads of a fused projection", "odd strides"])
def test_rope2d_gives_the_reference_s_bits(dtype: torch.dtype, C: int, layout: str) -> None:
    generator = torch.Generator().manual_seed(1)
    if layout == "heads of a fused projection":
        x = torch.randn(2, 7, 3, 3, C, generator=generator).to(dtype).permute(2, 0, 3, 1, 4)[:2]  # (2, B, heads, S, C)
    elif layout == "odd strides":
        x = torch.randn(2, 7, C + 1, generator=generator).to(dtype)[..., 1:]
    else:
        x = torch.randn(7, C, generator=generator).to(dtype)
    angle = 30 * torch.randn(7, C // 2, generator=generator)
    expected = rope2d_reference(x, angle.cos(), angle.sin())
    rope2d_cuda(x, angle.cos(), angle.sin(), stand_in_library(ROPE2D))
    assert torch.equal(
        x.view(torch.int16 if dtype == torch.bfloat16 else torch.int32),
        expected.view_as(x).view(torch.int16 if dtype == torch.bfloat16 else torch.int32),
    )


# --- alignment_normal_equations


@pytest.mark.parametrize("principal_points", [False, True])
@pytest.mark.parametrize("counts", [[1], [0, 3, 0], [5, 2600, 1, 1500]])
def test_normal_equations_equal_the_reference(counts: list[int], principal_points: bool) -> None:
    matches, cameras, weight = make_problem(counts, seed=3)
    cameras = replace(cameras, depth=np.where(np.arange(len(cameras.depth)) % 11 == 5, -1.0, cameras.depth))  # some are hidden
    resident = ResidentMatches(matches, stand_in_library(ALIGNMENT_NORMAL_EQUATIONS))
    for scale in (1.0, 0.5):  # the second time with the matches already there
        found = resident.evaluate(cameras, scale * weight, 2.0, principal_points)
        expected = alignment_normal_equations_reference(matches, cameras, scale * weight, 2.0, principal_points=principal_points)
        for name in ("normal", "gradient", "groups", "squared_error"):
            wanted = getattr(expected, name)
            np.testing.assert_allclose(
                getattr(found, name), wanted, rtol=1e-9, atol=1e-9 * max(1.0, np.abs(wanted).max(initial=0))
            )


def test_matches_are_kept_while_they_live(monkeypatch: pytest.MonkeyPatch) -> None:
    from mast3r_kernels.alignment_normal_equations import cuda as op

    monkeypatch.setattr(op.cuda, "load", stand_in_library)
    matches, cameras, weight = make_problem([20], seed=1)
    assert op.resident(matches) is op.resident(matches)
    key = id(matches)
    assert key in op._residents
    expected = alignment_normal_equations_reference(matches, cameras, weight, 2.0)
    np.testing.assert_allclose(
        op.resident(matches).evaluate(cameras, weight, 2.0, False).normal, expected.normal, rtol=1e-9, atol=1e-9
    )
    del matches
    assert key not in op._residents
    assert isinstance(make_problem([2])[0], DirectedMatches)
