"""On an NVIDIA GPU: directed pairs, reciprocal searches and a whole job, in milliseconds, with the share of the card's own rate.

    python -m mast3r_kernels.build --cuda && python -m benchmarks.bench_gpu     ViT-L with random weights, 512x384, bfloat16
    python -m benchmarks.bench_gpu --small --photos 3                           a tiny network, in seconds

Times are medians of `--rounds`, between CUDA events, after a warm-up. The share of the roofline compares 2.04 TFLOP for a
directed 512x384 pair with what the same card does in a large bfloat16 product of matrices, measured in the same run. Without a
GPU nothing is measured, and that is said.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.bench_network import SMALL, parse_size
from benchmarks.bench_stages import ROOT, VITL
from mast3r_engine import Options, reconstruct
from mast3r_engine.network import GraphedNetwork, Network, build_network, set_precision
from mast3r_engine.pipeline import WANTED
from mast3r_kernels import require
from mast3r_kernels.reciprocal_match import reciprocal_match_pairs

TFLOP_OF_A_PAIR = 2.04  # a directed 512x384 pair of ViT-L
PRODUCT = 8192  # side of the matrices that show the card's rate
BATCHES = (1, 4, 8, 16)
SEARCHES = (1, 8)  # pairs at once
STARTS_STEP = 8


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    """Median time of `work` on the GPU."""
    for _ in range(3):
        work()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(float(start.elapsed_time(end)))
    return statistics.median(times)


def card_tflops(rounds: int) -> float:
    """TFLOP/s of a large bfloat16 product."""
    a = torch.randn(PRODUCT, PRODUCT, device="cuda", dtype=torch.bfloat16)
    return 2 * PRODUCT**3 / milliseconds(lambda: a @ a, rounds) * 1e-9


def pair_rows(config: dict[str, Any], size: tuple[int, int], rounds: int, rate: float) -> list[str]:
    """Directed pairs, encoding included once a pair: eager and as graphs."""
    net = build_network(config)
    set_precision(net, "bfloat16")
    net = net.cuda()
    rows = []
    for name, contender in (("eager", net), ("graph", GraphedNetwork(net, most_shapes=64))):
        for batch in BATCHES:
            images = torch.rand(batch, 3, size[1], size[0], device="cuda") * 2 - 1

            def pair(contender: Network | GraphedNetwork = contender, images: Tensor = images) -> None:
                with torch.inference_mode():
                    encoded = contender.encode(images)
                    contender.decode(encoded, encoded, WANTED["sparse"])

            each = milliseconds(pair, rounds) / batch
            rows.append(f"| pair, {name} | {batch} | {each:.2f} | {100 * TFLOP_OF_A_PAIR / each / rate * 1e3:.0f} |")
    return rows


def search_rows(size: tuple[int, int], rounds: int) -> list[str]:
    """One reciprocal search from every eighth pixel, several pairs at once."""
    rows = []
    for count in SEARCHES:
        coarse = torch.randn(2 * count, 24, size[1] // 16 + 2, size[0] // 16 + 2, device="cuda")
        maps = torch.nn.functional.interpolate(coarse, size=(size[1], size[0]), mode="bicubic")
        maps = maps + 0.3 * torch.randn_like(maps)
        sets = torch.nn.functional.normalize(maps.flatten(2).transpose(1, 2), dim=2).contiguous()
        ys, xs = torch.arange(0, size[1], STARTS_STEP), torch.arange(0, size[0], STARTS_STEP)
        starts = (ys[:, None] * size[0] + xs).flatten().cuda()

        def search(a: Tensor = sets[:count], b: Tensor = sets[count:], starts: Tensor = starts) -> None:
            reciprocal_match_pairs(a, b, starts, implementation="cuda")

        rows.append(f"| search, {len(starts)} starts | {count} | {milliseconds(search, rounds) / count:.2f} | |")
    return rows


def job_seconds(config: dict[str, Any], photos: int) -> float:
    """Wall seconds of a job in one piece, its second run."""
    net = build_network(config)
    set_precision(net, "bfloat16")
    paths = sorted((ROOT / "examples" / "desk").glob("*.jpg"))[:photos]
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        reconstruct(paths, net.cuda(), Options(scene_graph="complete"))
        seconds = time.perf_counter() - began
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default=(512, 384), help="width x height at the network")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--small", action="store_true", help="a tiny network")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("torch sees no GPU here: nothing was measured")
        sys.exit(0)
    require("cuda")
    config = SMALL if options.small else VITL
    rate = card_tflops(options.rounds)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; large bfloat16 products: {rate:.0f} TFLOP/s")
    print("| what | at once | ms each | % of the card's rate |\n| --- | --- | --- | --- |")
    for row in (*pair_rows(config, options.size, options.rounds, rate), *search_rows(options.size, options.rounds)):
        print(row, flush=True)
    seconds = job_seconds(config, options.photos)
    print(f"\n{options.photos} photographs, complete graph, images to cloud: {seconds:.2f} s (random weights: see bench_job)")


if __name__ == "__main__":
    main()
