"""Recorded calls: the keeping of records is tested here with a recorder of our own, the recording itself where there is a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mast3r_engine.errors import OptionsError
from mast3r_engine.network import GraphedNetwork, Network, build_network
from mast3r_engine.network.cuda_graphs import MAPS
from mast3r_engine.predictions import Outputs, ViewPrediction
from tests.engine.tiny_networks import LINEAR, MAST3R


def tiny(config: dict[str, Any]) -> Network:
    torch.manual_seed(0)
    return build_network(config).eval()


class FixedBuffers:
    """Records as a graph does: one set of inputs, one set of outputs, written over by each replay."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(
        self, function: Callable[..., tuple[Tensor, ...]], examples: tuple[Tensor, ...]
    ) -> Callable[..., tuple[Tensor, ...]]:
        self.recorded += 1
        inputs = tuple(torch.zeros_like(example) for example in examples)
        outputs = tuple(torch.empty_like(output) for output in function(*examples))

        def replay(*given: Tensor) -> tuple[Tensor, ...]:
            for held, new in zip(inputs, given, strict=True):
                held.copy_(new)
            for held, new in zip(outputs, function(*inputs), strict=True):
                held.copy_(new)
            return tuple(output.clone() for output in outputs)

        return replay


def assert_same(found: ViewPrediction, expected: ViewPrediction) -> None:
    for name in MAPS:
        of_found, of_expected = getattr(found, name), getattr(expected, name)
        assert (of_found is None) == (of_expected is None)
        if of_expected is not None:
            torch.testing.assert_close(of_found, of_expected)


def images(seed: int, height: int = 32, width: int = 48, count: int = 2) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("config", [MAST3R, LINEAR], ids=["descriptors", "points alone"])
@pytest.mark.parametrize("outputs", [None, Outputs(points=(True, False)), Outputs(descriptors=(False, False))])
def test_replays_answer_as_the_network_does(config: dict[str, Any], outputs: Outputs | None) -> None:
    net, record = tiny(config), FixedBuffers()
    graphed = GraphedNetwork(net, record=record)
    with torch.inference_mode():
        for seed in (1, 2, 3):
            a, b = graphed.encode(images(seed)), graphed.encode(images(seed + 10, 48, 32))
            expected_a, expected_b = net.encode(images(seed)), net.encode(images(seed + 10, 48, 32))
            torch.testing.assert_close(a.tokens, expected_a.tokens)
            assert (b.height, b.width) == (48, 32)
            for found, expected in zip(graphed.decode(a, b, outputs), net.decode(expected_a, expected_b, outputs), strict=True):
                assert_same(found, expected)
    assert record.recorded == 3  # two sizes to encode, one decoding


def test_shapes_beyond_the_limit_and_gradients_run_as_always() -> None:
    net, record = tiny(MAST3R), FixedBuffers()
    graphed = GraphedNetwork(net, most_shapes=1, record=record)
    with torch.inference_mode():
        for height in (32, 48, 64, 32):
            torch.testing.assert_close(graphed.encode(images(1, height)).tokens, net.encode(images(1, height)).tokens)
    assert record.recorded == 1
    graphed.encode(images(1)).tokens.sum().backward()
    assert net.patch_embed.proj.weight.grad is not None


def test_it_stands_in_for_the_network() -> None:
    net = tiny(MAST3R)
    graphed = GraphedNetwork(net, record=FixedBuffers())
    assert (graphed.patch_size, graphed.image_size, graphed.metric) == (net.patch_size, net.image_size, net.metric)
    assert graphed.supports_outputs
    assert next(graphed.parameters()).device == net.decoder_embed.weight.device
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = graphed.no_such_thing


def test_without_a_gpu_it_is_refused() -> None:
    with pytest.raises(OptionsError, match="CUDA graphs were asked for and the network is on cpu"):
        GraphedNetwork(tiny(MAST3R))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_graphs_on_a_gpu_answer_as_the_network_does() -> None:
    net: Network = tiny(MAST3R).cuda()
    graphed = GraphedNetwork(net)
    with torch.inference_mode():
        for seed in (1, 2):
            a, expected_a = graphed.encode(images(seed).cuda()), net.encode(images(seed).cuda())
            for found, expected in zip(graphed.decode(a, a), net.decode(expected_a, expected_a), strict=True):
                assert_same(found, expected)
