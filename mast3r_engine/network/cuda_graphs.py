"""A network whose calls are recorded as CUDA graphs, one for each shape it meets.

At batch 1 a GPU is faster with a pair than Python is with starting its thousand kernels; a graph starts them all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

from mast3r_engine.errors import OptionsError
from mast3r_engine.network.model import Network
from mast3r_engine.predictions import Encoded, Outputs, ViewPrediction

Replay = Callable[..., tuple[Tensor, ...]]
Record = Callable[[Replay, tuple[Tensor, ...]], Replay]  # (function, example inputs) -> the same function, recorded

WARM_UPS = 3  # calls before recording, so that libraries have chosen their algorithms
MAPS = ("pts3d", "conf", "desc", "desc_conf")


def record_cuda_graph(
    function: Replay,
    examples: tuple[Tensor, ...],  # on a GPU, of the shapes that all later inputs have
) -> Replay:
    """Record what `function` does with inputs of these shapes; the result copies its inputs in and its outputs out."""
    inputs = tuple(example.clone() for example in examples)
    device = inputs[0].device
    aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(WARM_UPS):
            function(*inputs)
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = function(*inputs)

    def replay(*given: Tensor) -> tuple[Tensor, ...]:
        for held, new in zip(inputs, given, strict=True):
            held.copy_(new)
        graph.replay()
        return tuple(output.clone() for output in outputs)

    return replay


class GraphedNetwork(nn.Module):
    """Stands in for a `Network` when only inferring; everything that is not a call to encode or decode is the network's own.

    The first call with a shape records (and takes longer); after `most_shapes` of them, others run as they always did, so that
    the graphs' memory stays bounded. OptionsError for a network that is not on a GPU.
    """

    def __init__(self, net: Network, most_shapes: int = 8, record: Record | None = None) -> None:
        super().__init__()
        device = net.decoder_embed.weight.device
        if record is None and device.type != "cuda":
            raise OptionsError(f"CUDA graphs were asked for and the network is on {device}; set device to cuda, or do without")
        self.net = net
        self._most_shapes = most_shapes
        self._record = record or record_cuda_graph
        self._replays: dict[Hashable, Replay] = {}
        self._given: dict[Hashable, tuple[tuple[str, ...], tuple[str, ...]]] = {}  # the maps that a decoding gives, per view

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("net"), name)

    def encode(
        self,
        images: Tensor,  # (B, 3, H, W) float32 in [-1, 1]
    ) -> Encoded:
        """As the network's."""
        key = ("encode", images.shape)
        if not self._takes(key):
            return self.net.encode(images)
        (tokens,) = self._replay(key, lambda x: (self.net.encode(x).tokens,), images)
        return Encoded(tokens, images.shape[2], images.shape[3])

    def decode(self, a: Encoded, b: Encoded, outputs: Outputs | None = None) -> tuple[ViewPrediction, ViewPrediction]:
        """As the network's."""
        sizes = (a.height, a.width, b.height, b.width)
        key = ("decode", a.tokens.shape, b.tokens.shape, a.tokens.dtype, b.tokens.dtype, sizes, outputs)
        if not self._takes(key):
            return self.net.decode(a, b, outputs)

        def decode(tokens_a: Tensor, tokens_b: Tensor) -> tuple[Tensor, ...]:
            views = self.net.decode(Encoded(tokens_a, *sizes[:2]), Encoded(tokens_b, *sizes[2:]), outputs)
            given = [{name: value for name in MAPS if (value := getattr(view, name)) is not None} for view in views]
            self._given[key] = (tuple(given[0]), tuple(given[1]))
            return (*given[0].values(), *given[1].values())

        maps = self._replay(key, decode, a.tokens, b.tokens)
        first, second = self._given[key]
        return (
            ViewPrediction(**dict(zip(first, maps[: len(first)], strict=True))),
            ViewPrediction(**dict(zip(second, maps[len(first) :], strict=True))),
        )

    def _takes(self, key: Hashable) -> bool:
        """Graphs hold no gradients, and only so many shapes get one."""
        return not torch.is_grad_enabled() and (key in self._replays or len(self._replays) < self._most_shapes)

    def _replay(self, key: Hashable, function: Replay, *inputs: Tensor) -> tuple[Tensor, ...]:
        if key not in self._replays:
            self._replays[key] = self._record(function, inputs)
        return self._replays[key](*inputs)
