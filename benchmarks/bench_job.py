"""A whole job, images to cloud, against the sum of the published way's parts, each measured by itself on this machine.

    python -m benchmarks.bench_job                                  ten photographs, complete graph, ViT-L with random weights
    python -m benchmarks.bench_job --small --photos 3 --size 128x96  a tiny network, in a minute

The published way for N photographs: N (N - 1) directed pairs by the eager float32 forward of bench_network; for each of the
N (N - 1) / 2 pairs four plain blockwise searches (bench_matching); the Adam loop on an oracle scene of N views (bench_alignment).
One pair and one search are measured `--rounds` times and multiplied. Ours is measured twice: as the sum of the same parts, and as
a job in one piece, which besides loads the photographs, fuses and assembles. With random weights the job's geometry means
nothing and its alignment may take longer or shorter than the oracle's; the sum of the parts has the oracle's. A job with one
decoder pass a pair (`directions="one"`; bench_directions says what it costs in accuracy) is measured beside the usual one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.bench_alignment import measure as measure_alignment
from benchmarks.bench_matching import PLAIN, contenders, make_pair
from benchmarks.bench_network import BFLOAT16, EAGER, SMALL, make_network, measure, parse_size
from benchmarks.bench_stages import ROOT, VITL
from mast3r_engine import Options, reconstruct
from mast3r_kernels.reciprocal_match.compiled import usable_paths

FIELD = "smooth, 64 px, noise 0.3"  # of bench_matching: descriptors as alike as a network's
SEARCHES = 4  # per pair: both directed pairs, from either side


@dataclass(frozen=True)
class JobParts:
    """CPU and wall seconds of a job's expensive stages."""

    network: tuple[float, float]
    matching: tuple[float, float]
    alignment: tuple[float, float]

    @property
    def total(self) -> tuple[float, float]:
        stages = (self.network, self.matching, self.alignment)
        return sum(s[0] for s in stages), sum(s[1] for s in stages)


def measure_parts(
    config: dict[str, Any], size: tuple[int, int], photos: int, rounds: int, threads: int
) -> tuple[JobParts, JobParts]:  # the published way, ours
    """Measure the parts of both ways in turn; `size` is (width, height)."""
    pairs = photos * (photos - 1) // 2
    times = measure(config, size, rounds, photos)
    network = {
        variant: (
            2 * pairs * statistics.median(t.pair for t in times[variant].cpu),
            2 * pairs * statistics.median(t.pair for t in times[variant].wall),
        )
        for variant in (EAGER, BFLOAT16)
    }
    searches = _time_searches(size, rounds, threads)
    parts = []
    for variant, search, method in ((EAGER, PLAIN, "published"), (BFLOAT16, usable_paths()[0], "ours")):
        aligned = measure_alignment(method, photos, 0, size[1], size[0], threads)
        cpu, wall = searches[search]
        matching = (SEARCHES * pairs * cpu, SEARCHES * pairs * wall)
        parts.append(JobParts(network[variant], matching, (aligned.cpu_s, aligned.wall_s)))
    return parts[0], parts[1]


def run_job(
    config: dict[str, Any], size: tuple[int, int], photos: list[Path], directions: str = "both"
) -> tuple[float, float, dict[str, float]]:
    """CPU seconds, wall seconds and the stages' wall seconds of a job in one piece, in bfloat16; the network is loaded before."""
    net = make_network(config, BFLOAT16)
    options = {
        "directions": directions,
        "refine": "none",  # the published way has nothing like it
        "scene_graph": "complete",
        "image_size": max(size),
        "alignment": {"verify_pairs": False, "min_inliers": 6},
        "fusion": {"min_confidence": 0},
    }
    wall, cpu = time.perf_counter(), time.process_time()
    scene = reconstruct(photos, net, Options.from_dict(options))
    return time.process_time() - cpu, time.perf_counter() - wall, scene.stats["seconds"]


def _time_searches(size: tuple[int, int], rounds: int, threads: int) -> dict[str, tuple[float, float]]:
    a, b = make_pair(FIELD, f"{size[0]}x{size[1]}")
    found: dict[str, tuple[float, float]] = {}
    for name in (PLAIN, usable_paths()[0]):
        taken = []
        for _ in range(rounds):
            wall, cpu = time.perf_counter(), time.process_time()
            contenders()[name](a, b, threads)
            taken.append((time.process_time() - cpu, time.perf_counter() - wall))
        cpu, wall = (statistics.median(column) for column in zip(*taken, strict=True))
        found[name] = cpu, wall
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=ROOT / "examples" / "desk", help="of the job's photographs")
    parser.add_argument("--size", type=parse_size, default=(512, 384), metavar="WIDTHxHEIGHT")
    parser.add_argument("--small", action="store_true", help="a tiny network instead of ViT-L")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--directions", nargs="+", default=["both", "one"], choices=("both", "one"), help="of the jobs in one piece"
    )
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    config, photos = SMALL if chosen.small else VITL, sorted(chosen.folder.glob("*.jpg"))[: chosen.photos]
    if len(photos) < chosen.photos:
        parser.error(f"{chosen.folder} holds {len(photos)} photographs; {chosen.photos} were asked for")
    published, ours = measure_parts(config, chosen.size, chosen.photos, chosen.rounds, chosen.threads)
    print("| | network | matching | alignment | sum, CPU s | sum, wall s | x CPU | x wall |\n|" + " --- |" * 8)
    for name, parts in (("published way", published), ("ours, parts", ours)):
        cells = [name, *(f"{stage[0]:.2f}" for stage in (parts.network, parts.matching, parts.alignment))]
        print(f"| {' | '.join(cells)} | {_totals(parts.total, published.total)} |")
    for directions in chosen.directions:
        cpu, wall, stages = run_job(config, chosen.size, photos, directions)
        network = stages["encode"] + stages["decode"]
        print(
            f"| ours, whole job, directions={directions} | {network:.2f} wall | {stages['match']:.2f} wall"
            f" | {stages['align']:.2f} wall | {_totals((cpu, wall), published.total)} |",
            flush=True,
        )


def _totals(own: tuple[float, float], published: tuple[float, float]) -> str:
    return f"{own[0]:.2f} | {own[1]:.2f} | {published[0] / own[0]:.1f} | {published[1] / own[1]:.1f}"


if __name__ == "__main__":
    main()
