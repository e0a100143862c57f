"""Localisation in maps: position error against the number of map photographs on the oracle, and leave-one-out on photographs.

    python -m benchmarks.bench_map_localisation --cases 10
    python -m benchmarks.bench_map_localisation --photos FOLDER --cameras cameras.json

Oracle rows: the truth frozen ("exact") and a reconstruction of it, the query's camera given. Photographs: every one of the folder
is left out once, a map is made of the others, and the left-out one is localised in it. Its true pose is known in the map's frame
through the mean rotation and the spread of the map's cameras, whose own errors are printed too; `--cameras` is a file as
docs/training.md describes it.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

from mast3r_engine import freeze_map, load_network, localize_in_maps, reconstruct
from mast3r_engine.checkpoints import load_default_network
from mast3r_engine.errors import EngineError
from mast3r_engine.evaluation.localisation_study import StudySummary, summarise
from mast3r_engine.evaluation.map_study import (
    case_in_map,
    exact_map,
    localize_last,
    reconstructed_map,
    scene_with_query,
    true_in_map,
)
from mast3r_engine.evaluation.oracle import OracleNetwork
from mast3r_engine.evaluation.trajectory import rotation_angle
from mast3r_engine.predictions import PairNetwork


def main() -> None:
    """Run the oracle's rows, or leave-one-out on photographs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20, help="maps per row on the oracle")
    parser.add_argument("--photos", type=Path, help="folder of photographs")
    parser.add_argument("--cameras", type=Path, help="cameras.json with their true poses")
    parser.add_argument("--checkpoint", help="weights; default: the packaged ones")
    chosen = parser.parse_args()
    if chosen.photos is None:
        print(f"{'map':24} {'refused':>7} {'t mm':>7} {'rot deg':>8} {'NEES':>6}")
        for kind, photos in [("exact", n) for n in (1, 2, 4, 8)] + [("reconstructed", n) for n in (2, 4, 8)]:
            print(_row(f"{kind}, {photos} photographs", _study(kind, photos, chosen.cases)), flush=True)
        return
    network = load_network(chosen.checkpoint) if chosen.checkpoint else load_default_network()
    leave_one_out(chosen.photos, chosen.cameras, network)


def _study(kind: str, photos: int, cases: int) -> StudySummary:
    found = []
    for seed in range(20_000, 20_000 + cases):
        scene = scene_with_query(seed, photos)
        network = OracleNetwork(scene, seed=seed)
        scene_map = exact_map(scene, network) if kind == "exact" else reconstructed_map(scene, network)
        found.append(case_in_map(localize_last(scene, scene_map, network, photos), scene, scene_map))
    return summarise(found)


def _row(name: str, summary: StudySummary) -> str:
    refused = sum(summary.refused.values())
    return f"{name:24} {refused:7d} {1e3 * summary.translation:7.1f} {summary.rotation:8.3f} {summary.nees:6.2f}"


def leave_one_out(folder: Path, cameras: Path, network: PairNetwork) -> None:
    """Print each photograph's error in percent of the map's depth and in the truth's unit, and a summary."""
    entries = {Path(e["file"]).name: e for e in json.loads(cameras.read_text())["images"]}
    photos = [path for path in sorted(folder.iterdir()) if path.name in entries]
    true = {path: np.array(entries[path.name]["cam2world"]) for path in photos}
    distances, angles, reasons = [], [], Counter[str]()
    for query in photos:
        try:
            others = [path for path in photos if path != query]
            scene = reconstruct(others, network)
            frozen = freeze_map(scene, others, network)
        except EngineError as error:
            reasons[error.code] += 1
            continue
        kept = [others[int(k)] for k in np.flatnonzero(scene.component == 0)]
        cameras_found = np.stack([photo.cam2map for photo in frozen.photos])
        cameras_true = np.stack([true[path] for path in kept])
        pose, size = true_in_map(cameras_found, cameras_true, true[query])
        answer = localize_in_maps(query, [frozen], network)
        reasons[answer.reason or "localized"] += 1
        if not np.isfinite(answer.cam2map).all():
            print(f"{query.name}: {answer.reason}")
            continue
        distance, angle = _error(answer.cam2map, pose, size)
        sigma = float(np.sqrt(np.trace(answer.position_covariance))) / size
        own = [
            _error(f, true_in_map(cameras_found, cameras_true, t)[0], size)
            for f, t in zip(cameras_found, cameras_true, strict=True)
        ]
        print(
            f"{query.name}: {answer.reason or 'localized'}, {len(kept)} photographs in the map, {answer.inliers} inliers, "
            f"{distance:.3f} (said {sigma:.3f}), {angle:.2f} degrees; "
            f"the map's own cameras, median: {np.median([d for d, _ in own]):.3f}, {np.median([a for _, a in own]):.2f} degrees",
            flush=True,
        )
        if answer.localized:
            distances.append(distance)
            angles.append(angle)
    if distances:
        print(f"{dict(reasons)}; localised only: median {np.median(distances):.3f} and {np.median(angles):.2f} degrees")


def _error(found: np.ndarray, pose: np.ndarray, size: float) -> tuple[float, float]:
    """Distance in the world's unit and angle in degrees between two poses in the map."""
    return float(np.linalg.norm(found[:3, 3] - pose[:3, 3])) / size, float(rotation_angle(found[:3, :3], pose[:3, :3]))


if __name__ == "__main__":
    main()
