"""Cameras before and after bundle adjustment: on painted oracle scenes, and on photographs with known cameras.

    python -m benchmarks.bench_bundle                        oracle scenes of 5 and 10 views
    python -m benchmarks.bench_bundle --views 5 --seeds 0    one scene, in seconds
    python -m benchmarks.bench_bundle --data ROOT            photographs with known cameras too (their form: docs/training.md)

Oracle: our synthetic room (6 m), 256x192, complete graph, the errors of docs/performance.md, surfaces with a pattern. ATE
is root mean square after a similarity; depth error the median, relative, once the scale is right. Photographs: the packaged
network (or `--checkpoint`), at its own size.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from rich.progress import track

from mast3r_engine import AlignmentOptions, Options, load_network
from mast3r_engine.alignment import align_sparse
from mast3r_engine.bundle import refine_by_bundle
from mast3r_engine.evaluation.checkpoint import score_scene
from mast3r_engine.evaluation.oracle import (
    OracleNoise,
    OracleScene,
    complete_graph,
    make_scene,
    oracle_canonicals,
    oracle_matches,
    painted_photo,
)
from mast3r_engine.evaluation.posed_photos import read_posed_scenes
from mast3r_engine.evaluation.trajectory import trajectory_errors
from mast3r_engine.reconstruction import Alignment

Row = tuple[float, float, float, float]  # ATE mm, rotation degrees, focal per cent, depth per cent


def measure(views: int, seed: int) -> tuple[Row, Row, float]:
    """One oracle scene before and after, and the seconds between."""
    scene, noise, pairs = make_scene(views, seed=seed), OracleNoise(), complete_graph(views)
    matches = oracle_matches(scene, pairs, noise, seed=seed)
    before = align_sparse(oracle_canonicals(scene, pairs, noise, seed=seed), matches, AlignmentOptions(), metric=True, seed=seed)
    photos = [painted_photo(view) for view in scene.views]
    began = time.perf_counter()
    after, reason = refine_by_bundle(before, matches, photos)
    if reason is not None:
        print(f"{views} views, seed {seed}: {reason}")
    return _row(scene, before), _row(scene, after), time.perf_counter() - began


def _row(scene: OracleScene, alignment: Alignment) -> Row:
    errors = trajectory_errors(alignment.cam2world, np.stack([view.cam2world for view in scene.views]))
    focal = [abs(alignment.intrinsics[i, 0, 0] / view.K[0, 0] - 1) for i, view in enumerate(scene.views)]
    depth = [np.nanmedian(np.abs(errors.scale * d / v.depth - 1)) for d, v in zip(alignment.depth, scene.views, strict=True)]
    return 1e3 * errors.ate, errors.rotation, 100 * float(np.mean(focal)), 100 * float(np.mean(depth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, nargs="*", default=[5, 10])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", type=Path, help="folder of posed photographs")
    parser.add_argument("--checkpoint", default="m3r-preview")
    parser.add_argument("--image-size", type=int)
    options = parser.parse_args()
    if options.views:
        _print_oracle(options.views, options.seeds)
    if options.data:
        _print_photos(options.data, options.checkpoint, options.image_size)


def _print_oracle(all_views: list[int], seeds: list[int]) -> None:
    print("| views | | ATE mm | rotation deg | focal % | depth % | s |\n| --- | --- | --- | --- | --- | --- | --- |")
    for views in all_views:
        found = [measure(views, seed) for seed in track(seeds, f"{views} views", disable=not sys.stderr.isatty())]
        seconds = statistics.median(each[2] for each in found)
        for k, name in enumerate(("alignment", "bundle")):
            medians = [statistics.median(values) for values in zip(*(each[k] for each in found), strict=True)]
            print(
                f"| {views} | {name} | " + " | ".join(f"{m:.3f}" for m in medians) + f" | {seconds if k else 0:.1f} |", flush=True
            )


def _print_photos(root: Path, checkpoint: str, image_size: int | None) -> None:
    net = load_network(checkpoint)
    print(f"\n{checkpoint}:\n| set | refine | registered | rotation deg | ATE % of extent |\n| --- | --- | --- | --- | --- |")
    for scene in read_posed_scenes(root):
        for refine in ("none", "bundle"):
            scores = score_scene(scene, net, Options.from_dict({"refine": refine, "image_size": image_size}))
            rotation, ate = scores.mean_rotation, scores.ate_percent
            print(
                f"| {scene.name} | {refine} | {scores.registered}/{len(scene.photos)} | {rotation:.2f} | {ate:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
