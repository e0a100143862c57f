"""What one decoder pass a pair costs in accuracy and saves in time, beside both passes.

    python -m benchmarks.bench_directions                      oracle scenes of 5 and 10 views, and the ten desk photographs
    python -m benchmarks.bench_directions --views 5 --seeds 0  one scene, in seconds

Oracle scenes: our synthetic room (6 m) with the errors of docs/performance.md, where passes of one pair err independently; ATE
after a similarity. The desk photographs go through the packaged network; they have no ground truth here, so that the two ways are
compared with each other: the distance between their cameras after a similarity, in per cent of the trajectory's extent.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.progress import track

from benchmarks.bench_stages import ROOT
from mast3r_engine import Options, Reconstruction, load_network, reconstruct
from mast3r_engine.evaluation.oracle import OracleNetwork, OracleNoise, grey_image, make_scene
from mast3r_engine.evaluation.trajectory import trajectory_errors

DIRECTIONS = ("both", "one")


@dataclass(frozen=True)
class Outcome:
    """One reconstruction of one scene."""

    registered: int
    ate_mm: float
    rotation_degrees: float


def on_oracle(views: int, seed: int, directions: str) -> Outcome:
    """Reconstruct an oracle scene through the whole pipeline."""
    oracle = OracleNetwork(make_scene(views, seed=seed), OracleNoise(), seed=seed)
    photos = [grey_image(k, view.height, view.width) for k, view in enumerate(oracle.scene.views)]
    scene = reconstruct(photos, oracle, Options.from_dict({"directions": directions, "scene_graph": "complete"}))
    placed = scene.component == 0
    truth = np.stack([view.cam2world for view in oracle.scene.views])
    errors = trajectory_errors(scene.cam2world[placed], truth[placed])
    return Outcome(int(placed.sum()), 1e3 * errors.ate, errors.rotation)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--no-photos", action="store_true", help="leave the desk photographs out")
    options = parser.parse_args()
    _print_oracle(options.views, options.seeds)
    if not options.no_photos:
        _print_photos()


def _print_oracle(all_views: Sequence[int], seeds: Sequence[int]) -> None:
    print("| views | directions | registered | ATE mm (median of the seeds) | rotation deg |\n| --- | --- | --- | --- | --- |")
    for views in all_views:
        for directions in DIRECTIONS:
            found = [
                on_oracle(views, seed, directions)
                for seed in track(seeds, f"{views} views, {directions}", disable=not sys.stderr.isatty())
            ]
            ate, rotation = (statistics.median(values) for values in zip(*((f.ate_mm, f.rotation_degrees) for f in found)))
            registered = sum(f.registered for f in found)
            print(f"| {views} | {directions} | {registered}/{views * len(seeds)} | {ate:.2f} | {rotation:.3f} |", flush=True)


def _print_photos() -> None:
    net, paths = load_network("m3r-preview"), sorted((ROOT / "examples" / "desk").glob("*.jpg"))
    scenes: dict[str, Reconstruction] = {}
    print(f"\n{len(paths)} desk photographs, m3r-preview:")
    print("| directions | registered | decode s | whole job s |\n| --- | --- | --- | --- |")
    for directions in DIRECTIONS:
        began = time.perf_counter()
        scenes[directions] = reconstruct(paths, net, Options.from_dict({"directions": directions, "scene_graph": "complete"}))
        seconds, scene = time.perf_counter() - began, scenes[directions]
        decode = scene.stats["seconds"]["decode"]
        print(f"| {directions} | {int((scene.component == 0).sum())}/{len(paths)} | {decode:.2f} | {seconds:.2f} |", flush=True)
    placed = (scenes["both"].component == 0) & (scenes["one"].component == 0)
    centres = scenes["both"].cam2world[placed][:, :3, 3]
    errors = trajectory_errors(scenes["one"].cam2world[placed], scenes["both"].cam2world[placed])
    extent = float(np.linalg.norm(np.ptp(centres, axis=0)))
    print(f"\nBetween the two: {100 * errors.ate / extent:.1f} % of the trajectory's extent.")


if __name__ == "__main__":
    main()
