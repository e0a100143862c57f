"""Batches of equal shape, tokens kept, and predictions that cannot be used named for what they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mast3r_engine import Encoded, NetworkOutputError, OutOfMemoryError, ViewPrediction, reconstruct
from mast3r_engine.inference import TokenStore, plan_batches
from tests.engine.standing_in import Decoded, StandIn, exact_oracle, numbers, photos


def test_batches_have_equal_shapes_hold_every_pair_once_and_keep_the_limit() -> None:
    shapes = [(96, 128), (128, 96), (96, 128), (128, 96), (96, 128), (64, 64)]
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    limit = 100_000
    batches = plan_batches(pairs, shapes, limit)
    assert sorted(tuple(sorted(pair)) for batch in batches for pair in batch) == pairs
    for batch in batches:
        assert len({(shapes[i], shapes[j]) for i, j in batch}) == 1
        assert sum(2 * (shapes[k][0] * shapes[k][1]) for pair in batch for k in pair) <= limit
    assert max(len(batch) for batch in batches) > 1


def test_a_pair_above_the_limit_is_a_batch_by_itself() -> None:
    assert plan_batches([(0, 1), (0, 2)], [(64, 64)] * 3, 1) == [[(0, 1)], [(0, 2)]]


def test_tokens_come_back_as_they_were() -> None:
    tokens = torch.randn(3, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    store = TokenStore(3)
    for k in range(3):
        store.put(k, Encoded(tokens[k], 32, 48))
    stacked = store.stack([2, 0])
    assert torch.equal(stacked.tokens, tokens[[2, 0], 0])
    assert (stacked.height, stacked.width) == (32, 48)


def test_many_tokens_are_kept_in_half_the_memory() -> None:
    tokens = torch.randn(1, 5, 7, generator=torch.Generator().manual_seed(0))
    store = TokenStore(2, budget=2 * tokens.numel() * 4 - 1)
    store.put(0, Encoded(tokens, 32, 48))
    assert store.stack([0]).tokens.dtype == torch.float32
    assert torch.equal(store.stack([0]).tokens, tokens.to(torch.bfloat16).float())


Spoil = Callable[[ViewPrediction], ViewPrediction]


def _spoiled(spoil: Spoil, view: int, side: int) -> Callable[[Decoded, Encoded, Encoded], Decoded]:
    """Spoil what is said of `view` where it is the first (0) or second (1) of a pass, and nothing else of the batch."""

    def change(decoded: Decoded, a: Encoded, b: Encoded) -> Decoded:
        if view not in numbers((a, b)[side]):
            return decoded
        wrong = spoil(decoded[side])
        at = numbers((a, b)[side]).index(view)
        maps = {}
        for name in ("pts3d", "conf", "desc", "desc_conf"):
            mixed = getattr(decoded[side], name).clone()
            mixed[at] = getattr(wrong, name)[at]
            maps[name] = mixed
        sides = list(decoded)
        sides[side] = ViewPrediction(**maps)
        return sides[0], sides[1]

    return change


@pytest.mark.parametrize("field", ["pts3d", "conf", "desc", "desc_conf"])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_name_the_photograph(field: str, side: int, value: float) -> None:
    oracle = exact_oracle(3, 48, 64)

    def spoil(prediction: ViewPrediction) -> ViewPrediction:
        values = getattr(prediction, field).clone()
        values[:, 5, 7] = value
        return replace(prediction, **{field: values})

    with pytest.raises(NetworkOutputError, match=f"image_001: the network's {field} are not finite"):
        reconstruct(photos(oracle), StandIn(oracle, _spoiled(spoil, 1, side)))


@pytest.mark.parametrize("field", ["pts3d", "conf", "desc", "desc_conf"])
@pytest.mark.parametrize("side", [0, 1])
def test_wrong_shapes_are_named(field: str, side: int) -> None:
    oracle = exact_oracle(2, 48, 64)

    def change(decoded: Decoded, a: Encoded, b: Encoded) -> Decoded:
        sides = list(decoded)
        sides[side] = replace(sides[side], **{field: getattr(sides[side], field)[:, :-1]})
        return sides[0], sides[1]

    with pytest.raises(NetworkOutputError, match=rf"decode gave {field} of shape \(2, 47, 64.*it must be \(2, 48, 64"):
        reconstruct(photos(oracle), StandIn(oracle, change))


class Encoding(StandIn):
    """Encodes as `change` says."""

    change_tokens: Callable[[Encoded], Encoded]

    def encode(self, images: Tensor) -> Encoded:
        return self.change_tokens(super().encode(images))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: replace(e, tokens=e.tokens[:-1]), r"tokens of shape \(1, 12, 8\).*must be \(2, S, C\)"),
        (lambda e: replace(e, tokens=e.tokens[0]), r"tokens of shape \(12, 8\)"),
        (lambda e: replace(e, height=e.width), "for 64x64 pixels"),
        (lambda e: replace(e, tokens=e.tokens / torch.tensor([1.0, 0.0])[:, None, None]), "image_001: the network's tokens"),
    ],
)
def test_encodings_that_cannot_be_used_are_named(change: Callable[[Encoded], Encoded], message: str) -> None:
    oracle = exact_oracle(2, 48, 64)
    net = Encoding(oracle)
    net.change_tokens = change
    with pytest.raises(NetworkOutputError, match=message):
        reconstruct(photos(oracle), net)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_memory_that_does_not_suffice_is_named(error: Exception) -> None:
    oracle = exact_oracle(2, 48, 64)

    def change(decoded: Decoded, a: Encoded, b: Encoded) -> Decoded:
        raise error

    with pytest.raises(OutOfMemoryError, match="take fewer photographs"):
        reconstruct(photos(oracle), StandIn(oracle, change))


def test_other_errors_of_a_network_come_out_as_they_are() -> None:
    oracle = exact_oracle(2, 48, 64)

    def change(decoded: Decoded, a: Encoded, b: Encoded) -> Decoded:
        raise RuntimeError("CUDA error: an illegal memory access")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        reconstruct(photos(oracle), StandIn(oracle, change))
