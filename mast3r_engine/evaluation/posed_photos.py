"""Photographs with known cameras: folders with `cameras.json`, as docs/training.md describes them, depth optional."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mast3r_engine.errors import TrainingError

INDEX = "cameras.json"


@dataclass(frozen=True)
class PosedScene:
    """Photographs of one scene; poses of two scenes cannot be compared."""

    name: str
    metric: bool
    photos: list[Path]
    cam2world: NDArray[np.float64]  # (N, 4, 4) OpenCV axes
    K: NDArray[np.float64]  # (N, 3, 3) pixels of the stored photographs
    depth: list[Path | None]  # N maps, 16-bit images
    depth_scale: float


def read_posed_scenes(root: Path) -> list[PosedScene]:
    """All scenes of all folders below `root` (or in it) whose photographs have poses; TrainingError if there is none."""
    scenes = [scene for file in sorted(root.rglob(INDEX)) for scene in _read_folder(file.parent)]
    if not scenes:
        raise TrainingError(f"{root.name}: no {INDEX} with two posed photographs of one scene")
    return scenes


def read_depth_map(scene: PosedScene, index: int) -> NDArray[np.float64] | None:  # (H, W), 0 where unknown
    """One photograph's depth in the scene's unit, or None."""
    path = scene.depth[index]
    return None if path is None else np.asarray(Image.open(path)).astype(np.float64) * scene.depth_scale


def _read_folder(folder: Path) -> list[PosedScene]:
    index = json.loads((folder / INDEX).read_text())
    posed = [entry for entry in index["images"] if entry.get("cam2world") is not None and entry.get("fx") is not None]
    names = sorted({str(entry.get("scene", "")) for entry in posed})
    scenes = []
    for name in names:
        entries = [entry for entry in posed if str(entry.get("scene", "")) == name]
        if len(entries) >= 2:
            scenes.append(
                PosedScene(
                    name=f"{folder.name}/{name}" if len(names) > 1 else folder.name,
                    metric=bool(index.get("metric", False)),
                    photos=[folder / entry["file"] for entry in entries],
                    cam2world=np.array([entry["cam2world"] for entry in entries], np.float64),
                    K=np.array([[[e["fx"], 0, e["cx"]], [0, e["fy"], e["cy"]], [0, 0, 1]] for e in entries], np.float64),
                    depth=[folder / entry["depth"] if entry.get("depth") else None for entry in entries],
                    depth_scale=float(index.get("depth_scale", 1.0)),
                )
            )
    return scenes
