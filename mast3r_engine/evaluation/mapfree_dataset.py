"""The map-free benchmark's folders: scenes, frames, intrinsics and poses.

`ROOT/<split>/<scene>/` (or `ROOT/<scene>/`) holds `seq0/frame_00000.jpg` (reference), `seq1/frame_XXXXX.jpg` (queries),
`intrinsics.txt` (`frame fx fy cx cy W H`) and `poses.txt` (`frame qw qx qy qz tx ty tz`, world to camera, metres; the
reference is the identity). Lines that contain `#` are comments. Arnold et al., "Map-free Visual Relocalization", ECCV 2022.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mast3r_engine.errors import DatasetError
from mast3r_engine.localisation import PinholeCamera

Floats = NDArray[np.float64]

REFERENCE = "seq0/frame_00000.jpg"
QUERY_STEP = 5  # the single-frame track takes every fifth query, beginning with the first


@dataclass(frozen=True)
class MapfreeScene:
    """One scene: what its text files say, and which frames are asked for. Keys are frame paths such as `seq1/frame_00005.jpg`."""

    name: str
    folder: Path
    cameras: dict[str, PinholeCamera]
    cam2world: dict[str, Floats]  # (4, 4) each; empty where poses are withheld
    queries: list[str]


def read_scenes(root: Path, split: str | None = None) -> list[MapfreeScene]:
    """Read all scenes of a split, sorted by name; without a split, those that lie directly in `root`.

    DatasetError when there is none or a file is not in its format.
    """
    folder = root / split if split else root
    scenes = sorted(path for path in folder.glob("s*") if (path / "intrinsics.txt").is_file()) if folder.is_dir() else []
    if not scenes:
        raise DatasetError(f"{folder} holds no map-free scene; a scene is a folder such as s00460 with intrinsics.txt in it")
    return [read_scene(scene) for scene in scenes]


def read_scene(folder: Path) -> MapfreeScene:
    """Read one scene; its photographs are looked for, not opened."""
    cameras = {name: _camera(name, values) for name, values in _read_lines(folder / "intrinsics.txt", 6)}
    poses = dict(_read_lines(folder / "poses.txt", 7)) if (folder / "poses.txt").is_file() else {}
    if not (folder / REFERENCE).is_file():
        raise DatasetError(f"{folder.name} has no reference {REFERENCE}")
    queries = sorted(f"seq1/{path.name}" for path in (folder / "seq1").glob("frame_*.jpg"))[::QUERY_STEP]
    unknown = [name for name in [REFERENCE, *queries] if name not in cameras]
    if unknown:
        raise DatasetError(f"{folder.name}/intrinsics.txt says nothing about {unknown[0]}")
    return MapfreeScene(folder.name, folder, cameras, _known_poses(poses, folder.name), queries)


def frame_number(name: str) -> int:
    """The five digits of a frame's file name, which are its key in the benchmark: `seq0` and `seq1` share them."""
    digits = re.search(r"(\d{5})(?=\D*$)", name)
    if digits is None:
        raise DatasetError(f"{name!r} is no frame; its name must have five digits, such as seq1/frame_00005.jpg")
    return int(digits.group(1))


def pose_from_line(values: Floats) -> Floats:  # (7,) qw qx qy qz tx ty tz, world to camera -> (4, 4) cam2world
    """Turn a pose line round."""
    world2cam: Floats = np.eye(4)
    world2cam[:3, :3] = Rotation.from_quat(values[:4], scalar_first=True).as_matrix()
    world2cam[:3, 3] = values[4:]
    return np.linalg.inv(world2cam).astype(np.float64)


def _known_poses(poses: dict[str, Floats], scene: str) -> dict[str, Floats]:
    """Poses as camera to world; all zeros but for the reference mean that they are withheld (test split)."""
    others = [values for name, values in poses.items() if name != REFERENCE]
    if others and not np.any(others):
        return {}
    zero = [name for name, values in poses.items() if not np.any(values[:4])]
    if zero:
        raise DatasetError(f"{scene}/poses.txt: {zero[0]} has the quaternion 0 0 0 0")
    return {name: pose_from_line(values) for name, values in poses.items()}


def _camera(name: str, values: Floats) -> PinholeCamera:
    fx, fy, cx, cy, width, height = values
    if min(fx, fy, width, height) <= 0:
        raise DatasetError(f"intrinsics.txt: {name} has focal lengths {fx:g}, {fy:g} and size {width:g}x{height:g}")
    return PinholeCamera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), int(width), int(height))


def _read_lines(file: Path, count: int) -> list[tuple[str, Floats]]:
    """Lines `name number number …` in their order."""
    if not file.is_file():
        raise DatasetError(f"{file.parent.name} has no {file.name}")
    lines = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if "#" in line or not line.strip():
            continue
        name, *words = line.split()
        try:
            values = np.array([float(word) for word in words])
        except ValueError:
            values = np.empty(0)
        if len(values) != count or not np.isfinite(values).all():
            raise DatasetError(f"{file.parent.name}/{file.name}, line {number}: {line!r} must be a frame and {count} numbers")
        lines.append((name, values))
    return lines
