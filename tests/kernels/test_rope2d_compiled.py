"""The rotary op compiled: the reference's bits, in place, on every path, any strides, any number of threads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mast3r_engine.network.positions import RopeTables, rope_tables
from mast3r_kernels import KernelUnavailableError
from mast3r_kernels.rope2d import op, rope2d
from mast3r_kernels.rope2d.compiled import usable_paths
from mast3r_kernels.rope2d.reference import rope2d_reference

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(params=["generic", "avx2"])
def path(request: pytest.FixtureRequest) -> str:
    """Each path forced. What is not built fails (usable_paths raises); what this processor cannot run is skipped."""
    name = str(request.param)
    if name not in usable_paths():
        pytest.skip(f"this processor cannot run {name}")
    return name


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def tables(tokens: int, width: int) -> RopeTables:
    return rope_tables(1, tokens, width, 100.0, CPU)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tokens", [1, 2, 129, 130])
@pytest.mark.parametrize("width", [4, 12, 64])
def test_compiled_gives_the_references_bits(path: str, dtype: torch.dtype, tokens: int, width: int) -> None:
    x = random(2, 3, tokens, width, dtype=dtype)
    before = x.clone()
    right = rope2d_reference(x, *tables(tokens, width))
    assert torch.equal(rope2d(x, *tables(tokens, width), implementation=path), right)
    assert torch.equal(x, before)
    assert rope2d(x, *tables(tokens, width), implementation=path, overwrite=True) is x
    assert torch.equal(x, right)


@pytest.mark.parametrize("shape", [(0, 6, 8), (2, 6, 0, 8), (0, 8)])
def test_empty(path: str, shape: tuple[int, ...]) -> None:
    assert rope2d(torch.empty(shape), *tables(shape[-2], shape[-1]), implementation=path).shape == shape


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_queries_and_keys_inside_a_linear_layers_output(path: str, dtype: torch.dtype) -> None:
    """Strided as attention has them; the values between them stay as they are."""
    qkv = random(2, 37, 3, 4, 64, dtype=dtype)
    before = qkv.clone()
    rope2d(qkv.permute(2, 0, 3, 1, 4)[:2], *tables(37, 64), implementation=path, overwrite=True)
    right = rope2d_reference(before.permute(2, 0, 3, 1, 4)[:2], *tables(37, 64))
    assert torch.equal(qkv.permute(2, 0, 3, 1, 4)[:2], right)
    assert torch.equal(qkv[:, :, 2], before[:, :, 2])


def test_infinity_and_nan_stay_what_they_are(path: str) -> None:
    for dtype in DTYPES:
        x = torch.tensor([[float("inf"), 1.0, float("nan"), 3.4e38]], dtype=dtype)
        right = rope2d_reference(x, *tables(1, 4))
        torch.testing.assert_close(rope2d(x, *tables(1, 4), implementation=path), right, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("threads", [2, 5])
def test_the_number_of_threads_changes_nothing(path: str, threads: int) -> None:
    x = random(2, 6, 768, 64)
    one, many = (rope2d(x, *tables(768, 64), implementation=path, threads=count) for count in (1, threads))
    assert torch.equal(one, many)


def test_in_place_only_where_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    x, at = random(6, 8), tables(6, 8)
    right = rope2d_reference(x, *at)
    assert rope2d(x.clone(), *at) is not x
    recorded = x.clone().requires_grad_()
    rotated = rope2d(recorded, *at, overwrite=True)
    assert torch.equal(recorded, x)
    rotated.square().sum().backward()  # a rotation keeps lengths, so the gradient is 2 x
    torch.testing.assert_close(recorded.grad, 2 * x)
    for other in (x.double(), x.T.contiguous().T, x[:1].expand(6, 8)):
        before = other.clone()
        torch.testing.assert_close(rope2d(other, *at, overwrite=True), rope2d_reference(before, *at), rtol=0, atol=0)
        assert torch.equal(other, before)
    with torch.no_grad():
        mine = x.clone().requires_grad_()
        assert rope2d(mine, *at, overwrite=True) is mine

    def not_built() -> tuple[str, ...]:
        raise KernelUnavailableError("not built")

    monkeypatch.setattr(op, "usable_paths", not_built)
    mine = x.clone()
    assert torch.equal(rope2d(mine, *at, overwrite=True), right)
    assert torch.equal(mine, x)


def test_a_path_that_cannot_be_had_is_an_error() -> None:
    with pytest.raises(KernelUnavailableError, match=r"no path 'sse9' on this processor; it has .*generic"):
        rope2d(torch.zeros(6, 8), *tables(6, 8), implementation="sse9")
    with pytest.raises(KernelUnavailableError, match="it takes float32 or bfloat16 on the CPU"):
        rope2d(torch.zeros(6, 8, dtype=torch.float64), *tables(6, 8), implementation="generic")
