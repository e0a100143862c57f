"""What goes into formats that know one frame only: the cameras and the cloud of the largest component."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.errors import ExportError
from mast3r_engine.reconstruction import Reconstruction

READ_BY_ALL = (".jpg", ".jpeg", ".png")  # what every reader of these formats can open
AXES_TO_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # times from the right: camera axes x right, y up, z backward


@dataclass(frozen=True)
class ExportedView:
    """One registered photograph. Pixels of the upright original, the CORNER of its top-left pixel at (0, 0) as in COLMAP."""

    index: int  # in the reconstruction
    name: str  # its file name in the exports
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    cam2world: NDArray[np.float64]  # (4, 4) OpenCV axes, a proper rotation

    @property
    def cam2world_gl(self) -> NDArray[np.float64]:  # (4, 4)
        """The pose with OpenGL camera axes, in the same world."""
        return self.cam2world @ AXES_TO_OPENGL


@dataclass(frozen=True)
class ExportedCloud:
    """The cloud of the largest component."""

    points: NDArray[np.float32]  # (P, 3)
    colors: NDArray[np.uint8]  # (P, 3)
    normals: NDArray[np.float32]  # (P, 3)


def exported_views(scene: Reconstruction) -> list[ExportedView]:
    """The photographs of the largest component in their order; ExportError when none is registered."""
    names = exported_names(scene.names)
    chosen = [int(i) for i in np.flatnonzero(scene.component == 0)]
    if not chosen:
        raise ExportError("no photograph is registered: there are no cameras to export")
    return [_view(scene, i, names[i]) for i in chosen]


def exported_cloud(scene: Reconstruction) -> ExportedCloud:
    """The finite points of the largest component."""
    mine = (scene.point_component == 0) & np.isfinite(scene.points).all(axis=1)
    return ExportedCloud(scene.points[mine], scene.colors[mine], np.nan_to_num(scene.normals[mine]))


def exported_names(names: list[str]) -> list[str]:
    """File names that every reader takes: no white space (it ends a name in COLMAP's text), no folders, a suffix that all open.

    Names that are fine stay as they are; photographs of other kinds get `.png` appended.
    """
    taken: set[str] = set()
    exported = []
    for name in names:
        clean = re.sub(r"[\s/\\]", "_", name)
        if PurePosixPath(clean).suffix.lower() not in READ_BY_ALL:
            clean += ".png"
        path, wanted, copy = PurePosixPath(clean), clean, 2
        while wanted in taken:
            wanted, copy = f"{path.stem}-{copy}{path.suffix}", copy + 1
        taken.add(wanted)
        exported.append(wanted)
    return exported


def selection_notes(scene: Reconstruction) -> list[str]:
    """Say which photographs are in, which are not, and what files the reader expects."""
    names = exported_names(scene.names)
    count, of = int((scene.component == 0).sum()), int(scene.component.max(initial=-1)) + 1
    notes = [
        f"{count} of {len(names)} photographs" + (f": the largest of {of} components, which share no frame" if of > 1 else ""),
        f"unit: {'metre' if scene.metric else 'arbitrary'}",
    ]
    reasons = {index: reason for index, _, reason in scene.unregistered}
    out = [int(i) for i in np.flatnonzero(scene.component != 0)]
    notes += [f"left out: {scene.names[i]} ({reasons.get(i, f'component {scene.component[i]}')})" for i in out]
    notes += [f"renamed: {old} is here {new}" for old, new in zip(scene.names, names, strict=True) if old != new]
    return notes


def nearest_colors(
    cloud: ExportedCloud,
    points: NDArray[np.floating],  # (M, 3)
) -> NDArray[np.uint8]:  # (M, 3)
    """Give points the colour of the nearest point of the cloud; grey without a cloud."""
    from scipy.spatial import cKDTree

    if len(cloud.points) == 0 or len(points) == 0:
        return np.full((len(points), 3), 128, np.uint8)
    _, nearest = cKDTree(cloud.points).query(points)
    return cloud.colors[nearest]


def _view(scene: Reconstruction, i: int, name: str) -> ExportedView:
    K, geometry = scene.intrinsics[i], scene.geometry[i]
    cam2world = scene.cam2world[i].copy()
    u, _, vt = np.linalg.svd(cam2world[:3, :3])  # chained poses drift away from rotations
    cam2world[:3, :3] = u @ vt
    fx, fy, cx, cy = (float(value) for value in (K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5))
    return ExportedView(i, name, geometry.original_width, geometry.original_height, fx, fy, cx, cy, cam2world)
