"""The capture format: a folder with `cameras.json`, photographs and depth maps; described in docs/training.md."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.errors import TrainingError

INDEX = "cameras.json"


@dataclass(frozen=True)
class Frame:
    """One photograph of a capture."""

    image: Path
    depth: Path
    depth_scale: float  # value in the file times this is the depth in the capture's unit
    K: NDArray[np.float64]  # (3, 3) pixels of the stored photograph, pixel centres at integers
    cam2world: NDArray[np.float64]  # (4, 4) OpenCV axes
    scene: str  # poses are comparable only inside one


@dataclass(frozen=True)
class Capture:
    """One folder's usable frames, and why others are not."""

    folder: Path
    metric: bool
    frames: tuple[Frame, ...]
    pairs: tuple[tuple[int, int], ...] | None  # the pairs listed in the file; None: all of one scene
    refused: tuple[str, ...]


def find_captures(root: Path) -> list[Capture]:
    """Every folder below (or at) `root` with a cameras.json; TrainingError if none has two usable frames."""
    captures = [read_capture(file.parent) for file in sorted(root.rglob(INDEX))]
    if not any(len(capture.frames) >= 2 for capture in captures):
        reasons = [reason for capture in captures for reason in capture.refused][:3]
        raise TrainingError(
            f"captures: {root.name} has no {INDEX} with two usable frames ({'; '.join(reasons) or 'no such file'}); "
            "each frame needs file, fx, fy, cx, cy, cam2world and depth"
        )
    return captures


def read_capture(folder: Path) -> Capture:
    """Read one folder's index; TrainingError if it is not JSON, bad frames go to `refused`."""
    try:
        index = json.loads((folder / INDEX).read_text())
        entries = list(index["images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"captures: {folder.name}/{INDEX} cannot be read: {error!r}") from error
    frames, names, refused = [], [], []
    for entry in entries:
        try:
            frames.append(_read_frame(folder, entry, float(index.get("depth_scale", 1.0))))
            names.append(entry["file"])
        except (KeyError, TypeError, ValueError) as error:
            refused.append(f"{folder.name}/{entry.get('file', '?') if isinstance(entry, dict) else '?'}: {error}")
    listed = index.get("pairs")
    pairs = None if listed is None else tuple((names.index(a), names.index(b)) for a, b in listed if a in names and b in names)
    return Capture(folder, bool(index.get("metric", False)), tuple(frames), pairs, tuple(refused))


def _read_frame(folder: Path, entry: dict[str, Any], depth_scale: float) -> Frame:
    for key in ("file", "fx", "fy", "cx", "cy", "cam2world", "depth"):
        if entry.get(key) is None:
            raise ValueError(f"{key} is missing")
    pose = np.array(entry["cam2world"], dtype=np.float64)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise ValueError(f"cam2world has shape {pose.shape}; it must be a finite 4x4 matrix")
    if not np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-3) or np.linalg.det(pose[:3, :3]) < 0:
        raise ValueError("cam2world is not a rigid motion; its upper left 3x3 must be a rotation")
    values = [float(entry[key]) for key in ("fx", "fy", "cx", "cy")]
    if not all(math.isfinite(v) for v in values) or min(values[:2]) <= 0:
        raise ValueError(f"fx, fy, cx, cy are {values}; they must be finite and the focal lengths positive")
    image, depth = folder / entry["file"], folder / entry["depth"]
    for file in (image, depth):
        if not file.is_file():
            raise ValueError(f"{file.name} does not exist")
    K = np.array([[values[0], 0, values[2]], [0, values[1], values[3]], [0, 0, 1]])
    return Frame(image, depth, depth_scale, K, pose, str(entry.get("scene", "")))
