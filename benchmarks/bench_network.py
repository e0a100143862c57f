"""The network's stages: ours in float32 and bfloat16 beside an eager float32 forward that encodes both images for every pair.

    python -m benchmarks.bench_network                        ViT-L with random weights, 256x192 and 512x384
    python -m benchmarks.bench_network --small --size 64x48   a tiny network, in seconds

Contenders take turns, round after round, so that a busy machine slows all alike; times are medians, ratios medians of the rounds'
ratios. A directed pair of ours costs one decode, the heads that sparse alignment asks for, and its share of the encodings in a
complete graph of `--photos` photographs; an eager one costs two encodings, a decode and all heads. Peak memory is measured in a
process of its own, beside the weights.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from benchmarks.bench_stages import VITL
from benchmarks.eager_forward import eager_decode, eager_encode, eager_grid, eager_heads, eager_pair
from benchmarks.process_memory import peak_mib
from mast3r_engine.network import build_network, set_precision
from mast3r_engine.network.model import Network
from mast3r_engine.pipeline import WANTED

EAGER, FLOAT32, BFLOAT16 = "eager float32", "ours float32", "ours bfloat16"
VARIANTS = (EAGER, FLOAT32, BFLOAT16)
Result = TypeVar("Result")
SMALL: dict[str, Any] = VITL | {
    "img_size": (64, 64), "enc_embed_dim": 32, "enc_depth": 2, "enc_num_heads": 2, "dec_embed_dim": 24, "dec_depth": 4,
    "dec_num_heads": 2, "output_mode": "pts3d+desc8", "feature_dim": 12, "layer_dims": (8, 8, 12, 16),
}  # fmt: skip


@dataclass(frozen=True)
class StageSeconds:
    """One round of one contender, batch 1."""

    encode: float  # an image
    decode: float  # a directed pair
    heads: float  # a directed pair
    pair: float  # a directed pair with its share of encodings

    @staticmethod
    def of(variant: str, encode: float, decode: float, heads: float, photos: int) -> StageSeconds:
        """Add up a pair: two encodings when nothing is remembered, else each photograph's over its N - 1 pairs."""
        encodings = 2.0 if variant == EAGER else 1.0 / (photos - 1)
        return StageSeconds(encode, decode, heads, encodings * encode + decode + heads)


@dataclass(frozen=True)
class VariantTimes:
    """All rounds of one contender: wall seconds and CPU seconds of all threads."""

    wall: list[StageSeconds]
    cpu: list[StageSeconds]


def measure(config: dict[str, Any], size: tuple[int, int], rounds: int, photos: int) -> dict[str, VariantTimes]:
    """Time every contender on one pair of random images; `size` is (width, height)."""
    nets = {variant: make_network(config, variant) for variant in VARIANTS[1:]}
    nets[EAGER] = nets[FLOAT32]
    images = make_images(size)
    times = {variant: VariantTimes([], []) for variant in VARIANTS}
    with torch.inference_mode():
        for count in range(rounds + 1):
            for variant in VARIANTS:
                wall, cpu = _time_stages(variant, nets[variant], *images, photos)
                if count:  # the first round warms up
                    times[variant].wall.append(wall)
                    times[variant].cpu.append(cpu)
    return times


def make_network(config: dict[str, Any], variant: str) -> Network:
    """The contender's network, with weights that depend on their names alone."""
    net = build_network(config)
    set_precision(net, "bfloat16" if variant == BFLOAT16 else "float32")
    return net


def make_images(size: tuple[int, int]) -> tuple[Tensor, Tensor]:  # (1, 3, H, W) each
    """Two random images."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 1, 3, size[1], size[0], generator=generator) * 2 - 1
    return a, b


def run_pair(variant: str, net: Network, a: Tensor, b: Tensor) -> None:
    """One directed pair from the images on."""
    with torch.inference_mode():
        if variant == EAGER:
            eager_pair(net, a, b)
        else:
            net.decode(net.encode(a), net.encode(b), WANTED["sparse"])


def pair_ratio(baseline: list[StageSeconds], own: list[StageSeconds]) -> float:
    """How many times faster a directed pair is, round by round."""
    return statistics.median(b.pair / o.pair for b, o in zip(baseline, own, strict=True))


def _time_stages(variant: str, net: Network, a: Tensor, b: Tensor, photos: int) -> tuple[StageSeconds, StageSeconds]:
    if variant == EAGER:
        grid_a, grid_b = eager_grid(net, a), eager_grid(net, b)
        encode, tokens_a = _timed(lambda: eager_encode(net, a))
        tokens_b = eager_encode(net, b)
        decode, layers = _timed(lambda: eager_decode(net, tokens_a, grid_a, tokens_b, grid_b))
        heads, _ = _timed(lambda: eager_heads(net, layers[0], grid_a, layers[1], grid_b))
    else:
        encode, encoded_a = _timed(lambda: net.encode(a))
        encoded_b = net.encode(b)
        decode, _ = _timed(lambda: net.decode_tokens(encoded_a, encoded_b))
        whole, _ = _timed(lambda: net.decode(encoded_a, encoded_b, WANTED["sparse"]))
        heads = (max(0.0, whole[0] - decode[0]), max(0.0, whole[1] - decode[1]))
    wall, cpu = (StageSeconds.of(variant, encode[k], decode[k], heads[k], photos) for k in range(2))
    return wall, cpu


def _timed(work: Callable[[], Result]) -> tuple[tuple[float, float], Result]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return (time.perf_counter() - wall, time.process_time() - cpu), result


def measure_peak(config: dict[str, Any], variant: str, size: tuple[int, int], threads: int) -> float:
    """Peak MiB of one directed pair beside the weights; run it in a process of its own."""
    torch.set_num_threads(threads)
    net = make_network(config, variant)
    run_pair(variant, net, *make_images((64, 64)))  # libraries loaded, pools warm
    images = make_images(size)
    return peak_mib(lambda: run_pair(variant, net, *images))


def parse_size(text: str) -> tuple[int, int]:
    """ "512x384" as (512, 384): width and height in pixels."""
    width, height = (int(side) for side in text.split("x"))
    return width, height


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, nargs="+", default=[(256, 192), (512, 384)], metavar="WIDTHxHEIGHT")
    parser.add_argument("--small", action="store_true", help="a tiny network instead of ViT-L")
    parser.add_argument("--photos", type=int, default=10, help="of the complete graph over which encodings are shared")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    config = SMALL if chosen.small else VITL
    columns = ("size", "contender", "encode s", "decode s", "heads s", "directed pair s", "x wall", "x CPU", "peak MiB")
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for size in chosen.size:
        times = measure(config, size, chosen.rounds, chosen.photos)
        for variant, own in times.items():
            stages = [statistics.median(getattr(t, stage) for t in own.wall) for stage in ("encode", "decode", "heads", "pair")]
            ratios = pair_ratio(times[EAGER].wall, own.wall), pair_ratio(times[EAGER].cpu, own.cpu)
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                peak = pool.submit(measure_peak, config, variant, size, chosen.threads).result()
            cells = [f"{size[0]}x{size[1]}", variant, *(f"{s:.3f}" for s in stages), *(f"{r:.1f}" for r in ratios), f"{peak:.0f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
