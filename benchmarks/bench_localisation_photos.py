"""Localisation of real photographs with known cameras: every pair of a folder, one as the query and one as the reference.

    python benchmarks/bench_localisation_photos.py FOLDER [FOLDER …] --checkpoint FILE

FOLDER holds `images/` and `cameras.json`: `{"metric": true, "images": [{"file", "width", "height", "fx", "fy", "cx", "cy",
"cam2world", "scene"}, …], "pairs": [[file, file], …]}`, OpenCV axes, pixel centres at integers; without `pairs`, neighbours up to
`--apart` are taken. Prints what a paper would: how many were localised, median errors, AUC@5/10/20, RRA and RTA at 15 degrees,
and the position's normalised squared error per axis (1 when the covariance is right).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mast3r_engine import PinholeCamera, load_network, localize
from mast3r_engine.checkpoints import load_default_network
from mast3r_engine.evaluation.relative_pose import pose_auc, relative_pose_errors
from mast3r_engine.evaluation.trajectory import accuracy_at
from mast3r_engine.predictions import PairNetwork


@dataclass(frozen=True)
class Photo:
    """A photograph with its camera."""

    path: Path
    camera: PinholeCamera
    cam2world: np.ndarray  # (4, 4)
    scene: str | None


def main() -> None:
    """Measure every folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--checkpoint", help="weights; default: the packaged ones")
    parser.add_argument("--apart", type=int, default=3, help="pair photographs up to this many places apart")
    parser.add_argument("--estimate-cameras", action="store_true", help="do not give the intrinsics")
    chosen = parser.parse_args()
    network = load_network(chosen.checkpoint) if chosen.checkpoint else load_default_network()
    for folder in chosen.folders:
        metric, pairs = read_pairs(folder, chosen.apart)
        print(measure(folder.name, pairs, metric, network, not chosen.estimate_cameras), flush=True)


def read_pairs(folder: Path, apart: int) -> tuple[bool, list[tuple[Photo, Photo]]]:
    """Whether lengths are metres, and (reference, query) pairs."""
    data = json.loads((folder / "cameras.json").read_text())
    photos = {entry["file"]: _photo(folder, entry) for entry in data["images"]}
    if data.get("pairs"):
        return bool(data["metric"]), [(photos[a], photos[b]) for a, b in data["pairs"]]
    ordered = list(photos.values())
    near = [(ordered[i], ordered[j]) for i in range(len(ordered)) for j in range(i + 1, min(i + 1 + apart, len(ordered)))]
    return bool(data["metric"]), [(a, b) for a, b in near if a.scene == b.scene]


def measure(name: str, pairs: list[tuple[Photo, Photo]], metric: bool, network: PairNetwork, give: bool) -> str:
    """Localise each pair and sum up; refused pairs count as failures in AUC, RRA and RTA."""
    estimated, true, reasons, sigmas = [], [], Counter[str](), []
    for reference, query in pairs:
        truth = np.linalg.inv(reference.cam2world) @ query.cam2world
        cameras = (query.camera, [reference.camera]) if give else (None, None)
        answer = localize(query.path, reference.path, network, None, *cameras)
        reasons[answer.reason or "localized"] += 1
        estimated.append(answer.query2reference if answer.localized else np.full((4, 4), np.nan))
        true.append(truth)
        if answer.localized and metric:
            off = answer.position - truth[:3, 3]
            sigmas.append(float(off @ np.linalg.solve(answer.position_covariance, off)) / 3)
    poses, truths = np.stack(estimated), np.stack(true)
    rotation, translation = relative_pose_errors(poses, truths)
    auc = pose_auc(np.maximum(rotation, translation))
    distance = np.linalg.norm(poses[:, :3, 3] - truths[:, :3, 3], axis=1)
    known = np.isfinite(distance)
    metres = f"{np.median(distance[known]):.3f} m, NEES/3 {np.median(sigmas):.1f}" if metric and known.any() else "-"
    medians = f"{np.median(rotation[known]):.2f}°, {np.median(translation[known]):.2f}°" if known.any() else "-"
    return (
        f"{name}: {len(pairs)} pairs, {dict(reasons)}\n"
        f"  localised only, medians: rotation, direction {medians}; position {metres}\n"
        f"  all: AUC@5/10/20 {' / '.join(f'{value:.3f}' for value in auc)}, "
        f"RRA@15 {accuracy_at(rotation, 15):.2f}, RTA@15 {accuracy_at(translation, 15):.2f}"
    )


def _photo(folder: Path, entry: dict[str, Any]) -> Photo:
    K = np.array([[entry["fx"], 0, entry["cx"]], [0, entry["fy"], entry["cy"]], [0, 0, 1.0]])
    camera = PinholeCamera(K, entry["width"], entry["height"])
    path = folder / "images" / entry["file"] if (folder / "images" / entry["file"]).exists() else folder / entry["file"]
    return Photo(path, camera, np.array(entry["cam2world"]), entry.get("scene"))


if __name__ == "__main__":
    main()
