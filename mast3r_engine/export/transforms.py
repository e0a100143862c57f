"""`transforms.json`, as nerfstudio and instant-ngp read it.

Poses are camera-to-world with OpenGL camera axes, in the same world as `scene.ply`: no `applied_transform`, about whose use
versions disagree. The readers turn and scale the scene to their liking themselves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mast3r_engine.export.atomic import replace_when_done
from mast3r_engine.export.selection import ExportedView, exported_cloud, exported_views, selection_notes
from mast3r_engine.reconstruction import Reconstruction

CAMERA_KEYS = ("camera_model", "fl_x", "fl_y", "cx", "cy", "w", "h")
MAX_AABB_SCALE = 128


def transforms_document(scene: Reconstruction) -> dict[str, Any]:
    """The document as plain values. Intrinsics stand at the top when all photographs share them, else with each."""
    views = exported_views(scene)
    cameras = [_camera(view) for view in views]
    shared = all(camera == cameras[0] for camera in cameras)
    frames = []
    for view, camera in zip(views, cameras, strict=True):
        frame: dict[str, Any] = {"file_path": f"images/{view.name}", "transform_matrix": view.cam2world_gl.tolist()}
        frames.append(frame if shared else {**frame, **camera})
    document: dict[str, Any] = dict(cameras[0]) if shared else {}
    document["aabb_scale"] = _aabb_scale(scene, views)
    if int(scene.component.max()) == 0:  # with several components, scene.ply holds points of other frames too
        document["ply_file_path"] = "scene.ply"
    return {**document, "notes": selection_notes(scene), "frames": frames}


def write_transforms(scene: Reconstruction, path: Path) -> None:
    """Write the document, a photograph a line."""
    document = transforms_document(scene)
    frames = ",\n".join("    " + json.dumps(frame, allow_nan=False) for frame in document.pop("frames"))
    head = json.dumps(document, allow_nan=False, indent=2)[:-2]
    with replace_when_done(path) as temporary:
        temporary.write_text(f'{head},\n  "frames": [\n{frames}\n  ]\n}}\n', encoding="utf-8")


def _camera(view: ExportedView) -> dict[str, Any]:
    return dict(zip(CAMERA_KEYS, ("OPENCV", view.fx, view.fy, view.cx, view.cy, view.width, view.height), strict=True))


def _aabb_scale(scene: Reconstruction, views: list[ExportedView]) -> int:
    """The power of two that holds nearly all points once the reader has scaled them by 0.33 about its unit cube's middle."""
    points = exported_cloud(scene).points
    centres = np.stack([view.cam2world[:3, 3] for view in views])
    reach = np.abs(points).max(axis=1) if len(points) else np.zeros(0)
    largest = max(float(np.quantile(reach, 0.99)) if len(reach) else 0.0, float(np.abs(centres).max()))
    wanted = max(2 * 0.33 * largest, 1.0)
    return int(min(2 ** int(np.ceil(np.log2(wanted))), MAX_AABB_SCALE))
