"""The ops on another processor: cross-compiled for aarch64 (NEON) and run under qemu, where both are installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mast3r_kernels.alignment_normal_equations import alignment_normal_equations
from mast3r_kernels.native import ALIGNMENT_NORMAL_EQUATIONS, RECIPROCAL_MATCH, ROPE2D
from mast3r_kernels.rope2d.reference import rope2d_reference
from tests.kernels.aarch64 import needs_aarch64, run
from tests.kernels.brute_force import brute_walk, unit
from tests.kernels.test_alignment_normal_equations import make_problem

pytestmark = needs_aarch64


@pytest.mark.parametrize(
    ("a", "b", "width"),
    [
        (unit(130, 24, 1), unit(129, 24, 2), 0),
        (unit(16 * 20, 24, 3), unit(20 * 30, 24, 4), 20),
        (unit(1, 5, 5), unit(2, 5, 6), 1),
        (unit(70, 3, 7).mul(2).round(), unit(200, 3, 8).mul(2).round(), 10),  # ties
        (unit(1, 24, 9) + 1e-6 * unit(60, 24, 10), unit(1, 24, 9) + 1e-6 * unit(300, 24, 11), 0),  # near ties
    ],
)
def test_neon_finds_what_brute_force_finds(a: Tensor, b: Tensor, width: int) -> None:
    starts = torch.arange(0, len(a), 3)
    head = torch.tensor([len(a), width, len(b), width, a.shape[1], len(starts)])
    found = run(RECIPROCAL_MATCH, _bytes(head, a, b, starts)).decode().splitlines()
    assert {(int(p), int(q)) for p, q in (line.split() for line in found)} == brute_walk(a, b, starts.tolist(), 10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("C", [4, 12, 64])
def test_neon_rotates_with_the_reference_s_bits(dtype: torch.dtype, C: int) -> None:
    generator = torch.Generator().manual_seed(1)
    x, angle = torch.randn(3, 17, C, generator=generator).to(dtype), 30 * torch.randn(17, C // 2, generator=generator)
    bits = torch.int16 if dtype == torch.bfloat16 else torch.int32
    head = torch.tensor([x.element_size(), 3, 17, C])
    found = run(ROPE2D, _bytes(head, x.view(bits), angle.cos(), angle.sin()))
    assert found == _bytes(rope2d_reference(x, angle.cos(), angle.sin()).view(bits))


@pytest.mark.parametrize("columns", [8, 12])
@pytest.mark.parametrize("counts", [[1], [5, 260, 0, 1500]])
def test_neon_sums_what_the_reference_sums(counts: list[int], columns: int) -> None:
    matches, cameras, weight = make_problem(counts, seed=3)
    head = np.array([len(weight), len(counts), len(cameras.depth), columns])
    flat = (
        *(head, matches.pair_start, matches.pair_group_start, matches.group_start),
        *(matches.source_xy, matches.target_xy, matches.offset, cameras.rotation, cameras.translation),
        *(cameras.source_focal, cameras.target_focal, cameras.source_shift, cameras.target_shift, cameras.depth, weight),
        np.array([2.0]),
    )
    found = np.frombuffer(run(ALIGNMENT_NORMAL_EQUATIONS, b"".join(np.ascontiguousarray(part).tobytes() for part in flat)))
    blocks = alignment_normal_equations(matches, cameras, weight, 2.0, principal_points=columns == 12, implementation="reference")
    expected = np.concatenate([part.ravel() for part in (blocks.normal, blocks.gradient, blocks.groups, blocks.squared_error)])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def _bytes(*parts: Tensor) -> bytes:
    return b"".join(part.contiguous().numpy().tobytes() for part in parts)
