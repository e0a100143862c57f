"""The rotary op against its formula written out with complex numbers, and against known values."""

from __future__ import annotations

import pytest
import torch

from mast3r_engine.network.positions import rope_tables
from mast3r_kernels.rope2d import rope2d

CPU = torch.device("cpu")
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-6, torch.bfloat16: 8e-3}  # relative, per vector


def rotate_by_complex_numbers(x: torch.Tensor, rows: int, columns: int, base: float) -> torch.Tensor:
    quarter = x.shape[-1] // 4
    position = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).double().reshape(-1, 2)
    frequencies = base ** (-torch.arange(quarter).double() / quarter)
    pairs = x.double().reshape(*x.shape[:-1], 2, 2, quarter)  # axis, part, component
    turned = torch.complex(pairs[..., 0, :], pairs[..., 1, :]) * torch.exp(1j * position[:, :, None] * frequencies)
    return torch.stack((turned.real, turned.imag), dim=-2).reshape(x.shape)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("rows", "columns", "width"), [(1, 1, 4), (1, 2, 8), (3, 43, 64), (10, 13, 64), (2, 1, 12)])
def test_rope2d_is_a_rotation_by_row_and_column(dtype: torch.dtype, rows: int, columns: int, width: int) -> None:
    x = torch.randn(2, 3, rows * columns, width, generator=torch.Generator().manual_seed(0)).to(dtype)
    got = rope2d(x, *rope_tables(rows, columns, width, 100.0, CPU))
    right = rotate_by_complex_numbers(x, rows, columns, 100.0)
    assert got.shape == x.shape
    # float64 input times float32 tables keeps the tables' precision
    error = (got.double() - right).norm(dim=-1) / right.norm(dim=-1)
    assert error.max() < TOLERANCE[dtype]
    assert got.dtype == dtype


@pytest.mark.parametrize(
    ("hot", "expected"),
    [
        (0, {0: -0.416147, 16: 0.909297}),
        (16, {0: -0.909297, 16: -0.416147}),
        (33, {33: -0.820862, 49: -0.571127}),
    ],
)
def test_rope2d_probe_values(hot: int, expected: dict[int, float]) -> None:
    """One-hot vectors of width 64 at row 2, column 5, base 100; values of the published network."""
    x = torch.zeros(1, 3 * 6, 64)
    token = 2 * 6 + 5
    x[0, token, hot] = 1.0
    got = rope2d(x, *rope_tables(3, 6, 64, 100.0, CPU))[0, token]
    right = torch.zeros(64)
    for index, value in expected.items():
        right[index] = value
    torch.testing.assert_close(got, right, atol=1e-6, rtol=0)


def test_rope2d_takes_strided_input_and_leaves_it_alone() -> None:
    qkv = torch.randn(2, 12, 3, 2, 8, generator=torch.Generator().manual_seed(1))
    before, view = qkv.clone(), qkv.permute(2, 0, 3, 1, 4)[:2]
    tables = rope_tables(3, 4, 8, 100.0, CPU)
    torch.testing.assert_close(rope2d(view, *tables), rope2d(view.contiguous(), *tables), atol=0, rtol=0)
    assert torch.equal(qkv, before)


def test_rope2d_of_an_empty_batch() -> None:
    assert rope2d(torch.empty(0, 6, 8), *rope_tables(2, 3, 8, 100.0, CPU)).shape == (0, 6, 8)


def test_rope2d_gradient() -> None:
    x = torch.randn(1, 6, 8, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(2))
    tables = rope_tables(2, 3, 8, 100.0, CPU)
    assert torch.autograd.gradcheck(lambda v: rope2d(v, *tables), (x,))


def test_rope2d_refuses_what_does_not_fit() -> None:
    cos, sin = rope_tables(2, 3, 8, 100.0, CPU)
    with pytest.raises(ValueError, match="multiple of 4"):
        rope2d(torch.zeros(6, 6), cos, sin)
    with pytest.raises(ValueError, match=r"both must be \(5, 4\)"):
        rope2d(torch.zeros(5, 8), cos, sin)
    with pytest.raises(ValueError, match="float32"):
        rope2d(torch.zeros(6, 8), cos.double(), sin)


def test_tables_made_under_inference_mode_serve_autograd_later() -> None:
    with torch.inference_mode():
        tables = rope_tables(7, 3, 16, 50.0, CPU)
    x = torch.randn(21, 16, requires_grad=True)
    rope2d(x, *tables).square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach(), atol=1e-5, rtol=1e-5)  # a rotation keeps the length
    assert rope_tables(7, 3, 16, 50.0, CPU) is tables
