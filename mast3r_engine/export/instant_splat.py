"""`instantsplat.zip`: `sparse_N/0` as InstantSplat reads it, with one focal length and the whole cloud as seeds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from mast3r_engine.errors import ExportError
from mast3r_engine.export.archive import readme, write_archive
from mast3r_engine.export.colmap_binary import binary_files
from mast3r_engine.export.colmap_model import model_with_cloud
from mast3r_engine.export.colmap_text import text_files
from mast3r_engine.export.ply import ply_bytes
from mast3r_engine.export.selection import ExportedView, exported_cloud, exported_views, selection_notes
from mast3r_engine.reconstruction import Reconstruction


def write_instant_splat(scene: Reconstruction, path: Path) -> None:
    """Write cameras and images, text and binary, and `points3D.ply`.

    The format knows one camera: the median focal length and principal point stand for all, and `README.txt` says how far the
    photographs' own are from it. ExportError when the photographs differ in size.
    """
    own = exported_views(scene)
    sizes = sorted({(view.width, view.height) for view in own})
    if len(sizes) > 1:
        listed = ", ".join(f"{w}x{h}" for w, h in sizes)
        raise ExportError(f"InstantSplat takes photographs of one size; these are {listed}: crop or resize them first")
    views = share_camera(own)
    model = model_with_cloud(scene, views, 0)
    files = [*text_files(model)[:2], *binary_files(model)[:2]]
    cloud = exported_cloud(scene)
    files.append(("points3D.ply", ply_bytes(cloud.points, cloud.colors, cloud.normals, ["axes opencv"])))
    spread = max(abs(view.fx / views[0].fx - 1) for view in own)
    told = [
        f"one focal length for all, {views[0].fx:.2f} pixels; the photographs' own differ by up to {100 * spread:.2f} %",
        "reconstruct with alignment.shared_intrinsics for cameras that share it from the start" if spread > 0.001 else "",
        f"put sparse_{len(views)}/ beside images/ (the output images.zip)",
    ]
    notes = readme(f"InstantSplat, {len(views)} photographs", [*selection_notes(scene), *filter(None, told)])
    write_archive(path, [*((f"sparse_{len(views)}/0/{name}", content) for name, content in files), notes])


def share_camera(views: list[ExportedView]) -> list[ExportedView]:
    """The same views with the median camera; square pixels."""
    focal = float(np.median([value for view in views for value in (view.fx, view.fy)]))
    cx, cy = (float(np.median([getattr(view, name) for view in views])) for name in ("cx", "cy"))
    return [dataclasses.replace(view, fx=focal, fy=focal, cx=cx, cy=cy) for view in views]
