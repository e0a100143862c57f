"""The CUDA ops on a real GPU, through the public functions. Skipped elsewhere; there, test_cuda_sources.py runs their sources."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mast3r_kernels import require
from mast3r_kernels.alignment_normal_equations import alignment_normal_equations
from mast3r_kernels.reciprocal_match import nearest, reciprocal_match, reciprocal_match_pairs
from mast3r_kernels.rope2d import rope2d
from tests.kernels.brute_force import SIZES, brute_force, brute_walk, pairs, unit
from tests.kernels.test_alignment_normal_equations import make_problem
from tests.kernels.test_reciprocal_match import smooth

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")]


@pytest.fixture(autouse=True, scope="module")
def built() -> None:
    """With a GPU at hand, libraries that were not built are a failure, not a reason to skip."""
    require("cuda")


@pytest.mark.parametrize("N", [*SIZES, 5000])
@pytest.mark.parametrize("M", [*SIZES, 5000])
def test_nearest_equals_brute_force(N: int, M: int) -> None:
    a, b = unit(N, 24, 1), unit(M, 24, 2)
    np.testing.assert_array_equal(nearest(a.cuda(), b.cuda(), "cuda").cpu().numpy(), brute_force(a, b))


def test_the_walk_equals_the_cpu_s_on_maps_of_full_size() -> None:
    a, b = smooth(384, 512, 24, 1), smooth(384, 512, 24, 1, 0.1)
    starts = torch.arange(0, 384 * 512, 61)
    assert pairs(reciprocal_match(a.cuda(), b.cuda(), starts.cuda(), implementation="cuda")) == pairs(
        reciprocal_match(a, b, starts)
    )


def test_several_pairs_at_once() -> None:
    a, b = torch.stack([unit(130, 6, s) for s in range(3)]), torch.stack([unit(129, 6, 9 + s) for s in range(3)])
    starts = torch.arange(0, 130, 2)
    for p, found in enumerate(reciprocal_match_pairs(a.cuda(), b.cuda(), starts.cuda(), implementation="cuda")):
        assert pairs(found) == brute_walk(a[p], b[p], starts.tolist(), 10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rope2d_gives_the_reference_s_bits(dtype: torch.dtype) -> None:
    x = torch.randn(2, 5, 16, 300, 64, device="cuda").to(dtype)
    angle = 30 * torch.randn(300, 32, device="cuda")
    expected = rope2d(x, angle.cos(), angle.sin(), implementation="reference")
    assert torch.equal(rope2d(x, angle.cos(), angle.sin(), implementation="cuda"), expected)


@pytest.mark.parametrize("principal_points", [False, True])
def test_normal_equations_equal_the_reference(principal_points: bool) -> None:
    matches, cameras, weight = make_problem([5, 26000, 0, 15000], seed=3)
    found, again, expected = (
        alignment_normal_equations(matches, cameras, weight, 2.0, principal_points=principal_points, implementation=name)
        for name in ("cuda", "cuda", "reference")
    )
    for name in ("normal", "gradient", "groups", "squared_error"):
        wanted = getattr(expected, name)
        np.testing.assert_allclose(getattr(found, name), wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
