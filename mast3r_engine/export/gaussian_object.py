"""`gaussianobject.zip`: what GaussianObject takes instead of a COLMAP model (N photographs)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.errors import ExportError
from mast3r_engine.export.archive import array_bytes, readme, write_archive
from mast3r_engine.export.ply import ply_bytes
from mast3r_engine.export.selection import ExportedView, exported_cloud, exported_names, exported_views, selection_notes
from mast3r_engine.reconstruction import Reconstruction

NO_MASKS = "no masks were given: the frame is centred on and scaled to the whole cloud, not the object"
MASKS = "the frame is centred on and scaled to the points that every mask lets through"


@dataclass(frozen=True)
class _ObjectFrame:
    """From the reconstruction's frame to the object's: (x - centre) / size."""

    centre: NDArray[np.float64]  # (3,)
    size: float

    def move(self, points: NDArray[np.floating]) -> NDArray[np.float64]:  # (..., 3)
        moved: NDArray[np.float64] = (points - self.centre) / self.size
        return moved


def write_gaussian_object(scene: Reconstruction, path: Path) -> None:
    """Write cameras, cloud, depths and confidences in the object's frame.

    ExportError when the photographs differ in their size at the network, since the format stacks the maps.
    """
    views = sorted(exported_views(scene), key=lambda view: view.name)  # the reader sorts its list of images
    shapes = sorted({scene.depth[view.index].shape for view in views})
    if len(shapes) > 1:
        sizes = ", ".join(f"{w}x{h}" for h, w in shapes)
        raise ExportError(
            f"GaussianObject stacks the depth maps, which are {sizes}: give photographs of one size and orientation"
        )
    write_archive(path, _files(scene, views))


def _files(scene: Reconstruction, views: list[ExportedView]) -> Iterator[tuple[str, bytes]]:
    cloud, n = exported_cloud(scene), len(views)
    centres = np.stack([view.cam2world[:3, 3] for view in views])
    masks = MASKS if scene.masked else NO_MASKS
    inside = cloud.points[_inside_all_masks(scene, views, cloud.points)]
    frame = _object_frame(next(points for points in (inside, cloud.points, centres) if len(points)))
    depth = np.stack([scene.depth[view.index] / np.float32(frame.size) for view in views])
    everything = sorted(exported_names(scene.names))
    cameras = [_camera(number, view, frame) for number, view in enumerate(views)]
    yield f"dust3r_{n}.json", (json.dumps(cameras, allow_nan=False, indent=1) + "\n").encode()
    points = frame.move(cloud.points).astype(np.float32)
    yield f"dust3r_{n}.ply", ply_bytes(points, cloud.colors, cloud.normals, ["axes opencv", masks])
    yield f"dust3r_depth_{n}.npy", array_bytes(np.nan_to_num(depth, nan=0.0))
    confidence = np.stack([scene.confidence[view.index] for view in views])
    yield f"dust3r_confidence_{n}.npy", array_bytes(np.nan_to_num(confidence, nan=0.0))
    yield f"sparse_{n}.txt", "".join(f"{everything.index(view.name)}\n" for view in views).encode()
    off = max(max(abs(view.cx / view.width - 0.5), abs(view.cy / view.height - 0.5)) for view in views)
    told = [
        masks,
        f"this frame = (x - {frame.centre.tolist()}) / {frame.size!r}",
        f"the reader takes the image's middle for the principal point; it is off by up to {100 * off:.2f} % of the image's size",
        "copy these files beside images/ (the output images.zip) and masks/",
    ]
    yield readme(f"GaussianObject, {n} photographs", [*selection_notes(scene), *told])


def _inside_all_masks(
    scene: Reconstruction,
    views: list[ExportedView],
    points: NDArray[np.floating],  # (P, 3)
) -> NDArray[np.bool_]:  # (P,)
    """Points that fall inside the mask of every photograph that has one, as the reader's own script chooses them."""
    inside = np.ones(len(points), bool)
    for view in views if scene.masked else []:
        use = scene.usable[view.index]
        if use is None:
            continue
        K = scene.network_intrinsics[view.index]
        local = (points - view.cam2world[:3, 3]) @ view.cam2world[:3, :3]
        front = local[:, 2] > 1e-9
        xy = local[:, :2] / np.where(front, local[:, 2], 1.0)[:, None] * np.diagonal(K)[:2] + K[:2, 2]
        x, y = np.rint(xy).clip(-1, max(use.shape)).astype(np.int64).T
        seen = front & (x >= 0) & (x < use.shape[1]) & (y >= 0) & (y < use.shape[0])
        inside[seen] &= use[y[seen], x[seen]]
        inside &= seen
    return inside


def _object_frame(points: NDArray[np.floating]) -> _ObjectFrame:
    centre = points.mean(axis=0, dtype=np.float64)
    return _ObjectFrame(centre, max(float(np.abs(points - centre).max()), 1e-12))


def _camera(number: int, view: ExportedView, frame: _ObjectFrame) -> dict[str, Any]:
    return {
        "id": number,
        "img_name": view.name,
        "width": view.width,
        "height": view.height,
        "position": frame.move(view.cam2world[:3, 3]).tolist(),
        "rotation": view.cam2world[:3, :3].tolist(),
        "fx": view.fx,
        "fy": view.fy,
    }
