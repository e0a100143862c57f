"""Global alignment, ours beside the published Adam optimiser, paired on the same oracle scenes and matches.

    python -m benchmarks.bench_alignment --views 2 5 10 20 --seeds 0 1

Each cell runs in a process of its own: seconds (wall), CPU seconds, and the peak of resident memory above what the process held
before. ATE and rotation after Sim(3); with two views the relative pose's errors (position over the baseline's length) stand in.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from mast3r_engine.alignment import align_dense, align_sparse
from mast3r_engine.evaluation.oracle import (
    OracleNoise,
    OracleScene,
    complete_graph,
    make_scene,
    oracle_canonicals,
    oracle_edges,
    oracle_matches,
)
from mast3r_engine.evaluation.oracle.prediction import predict_first
from mast3r_engine.evaluation.published_optimiser import optimise_as_published, published_canonical
from mast3r_engine.evaluation.trajectory import relative_errors, rotation_angle, trajectory_errors
from mast3r_engine.options import AlignmentOptions

METHODS = ("ours", "published")


@dataclass(frozen=True)
class Measured:
    """One run."""

    matches: int
    ate_mm: float
    rotation_deg: float
    focal_percent: float
    wall_s: float
    cpu_s: float
    peak_mib: float


def measure(method: str, views: int, seed: int, height: int, width: int, threads: int) -> Measured:
    """Make the scene, then time the alignment alone."""
    torch.set_num_threads(threads)
    scene, pairs, noise = (
        make_scene(views, height, width, seed=seed, arc_degrees=30 if views == 2 else 90),
        complete_graph(views),
        OracleNoise(),
    )
    matches = oracle_matches(scene, pairs, noise, seed=seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if method == "published":
        canonicals = [
            published_canonical([predict_first(scene, i, j, noise, seed) for j in range(views) if j != i]) for i in range(views)
        ]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began, began_cpu = time.perf_counter(), time.process_time()
        published = optimise_as_published(canonicals, matches)
        poses, K = published.cam2world, published.K
    else:
        views_in = oracle_canonicals(scene, pairs, noise, seed=seed)
        edges = oracle_edges(scene, pairs, noise, seed=seed) if method == "ours dense" else []
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began, began_cpu = time.perf_counter(), time.process_time()
        if method == "ours dense":
            result = align_dense(views_in, edges, AlignmentOptions(), metric=True, seed=0)
        else:
            result = align_sparse(views_in, matches, AlignmentOptions(), metric=True, seed=0)
        poses, K = result.cam2world, result.intrinsics
    wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    ate, rotation = pose_errors(scene, poses)
    focal = float(np.median(np.abs(K[:, 0, 0] / [view.K[0, 0] for view in scene.views] - 1)))
    return Measured(sum(map(len, matches)), ate, rotation, 100 * focal, wall, cpu, peak)


def pose_errors(scene: OracleScene, poses: np.ndarray) -> tuple[float, float]:
    """ATE in millimetres and the median rotation in degrees."""
    truth = np.stack([view.cam2world for view in scene.views])
    if len(truth) > 2:
        errors = trajectory_errors(poses, truth)
        return 1e3 * errors.ate, errors.rotation
    estimated, true = (np.linalg.inv(p[0]) @ p[1] for p in (poses, truth))
    length = np.linalg.norm(true[:3, 3])
    direction = relative_errors(poses, truth)[1][0]
    return 1e3 * float(length * np.radians(direction)), float(rotation_angle(estimated[:3, :3], true[:3, :3]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, nargs="+", default=[2, 5, 10, 20])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--size", type=int, nargs=2, default=[192, 256], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--threads", type=int, default=2, help="for torch, in the published optimiser")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=[*METHODS, "ours dense"])
    args = parser.parse_args()
    columns = (
        "views",
        "seed",
        "method",
        "matches",
        "ATE mm",
        "rotation deg",
        "focal %",
        "wall s",
        "CPU s",
        "peak MiB",
        "against ours",
    )
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    spawn = multiprocessing.get_context("spawn")
    for views in args.views:
        for seed in args.seeds:
            ours = None
            for method in args.methods:
                with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                    height, width = args.size
                    m = pool.submit(measure, method, views, seed, height, width, args.threads).result()
                ours = ours or m
                cells = (views, seed, method, m.matches, f"{m.ate_mm:.2f}", f"{m.rotation_deg:.3f}", f"{m.focal_percent:.3f}")
                costs = (f"{m.wall_s:.2f}", f"{m.cpu_s:.2f}", f"{m.peak_mib:.0f}")
                ratios = (
                    f"ATE {m.ate_mm / ours.ate_mm:.1f} x, CPU {m.cpu_s / ours.cpu_s:.1f} x, wall {m.wall_s / ours.wall_s:.1f} x"
                )
                print(f"| {' | '.join(map(str, (*cells, *costs, ratios)))} |", flush=True)


if __name__ == "__main__":
    main()
