"""`scene.glb`: the cloud of the largest component and its cameras, for viewers of glTF 2.0."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.export.atomic import replace_when_done
from mast3r_engine.export.selection import AXES_TO_OPENGL, ExportedView, exported_cloud, exported_views, selection_notes
from mast3r_engine.reconstruction import Reconstruction

MAGIC, VERSION, JSON_CHUNK, BIN_CHUNK = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
FLOAT, UBYTE = 5126, 5121
POINTS, LINES = 0, 1
MAX_VERTICES = 2_000_000  # of one primitive; browsers stumble over more
Y_UP = np.array([1, -1, -1], np.float32)  # times points: half a turn about x, from y down and z forward
FRUSTUM = 0.05  # length of a drawn camera, as a fraction of the scene's extent
CAMERA_COLOR = (230, 80, 40)
UNLIT: dict[str, Any] = {
    "pbrMetallicRoughness": {"baseColorFactor": [1.0, 1.0, 1.0, 1.0], "metallicFactor": 0.0, "roughnessFactor": 1.0},
    "extensions": {"KHR_materials_unlit": {}},
    "doubleSided": True,
}


def write_glb(scene: Reconstruction, path: Path) -> None:
    """Write points with linear colours, a wire frustum and a glTF camera per photograph; the world is turned to y up."""
    views, cloud = exported_views(scene), exported_cloud(scene)
    points = cloud.points * Y_UP
    file = _Buffer()
    meshes: list[dict[str, Any]] = []
    if len(points):
        linear = linear_colors(cloud.colors)
        parts = range(0, len(points), MAX_VERTICES)
        primitives = [file.primitive(POINTS, points[at : at + MAX_VERTICES], linear[at : at + MAX_VERTICES]) for at in parts]
        meshes.append({"name": "cloud", "primitives": primitives})
    depth = FRUSTUM * _extent(cloud.points, views)
    lines = np.concatenate([_frustum(view, depth) for view in views]).astype(np.float32) * Y_UP
    color = linear_colors(np.full((len(lines), 3), CAMERA_COLOR, np.uint8))
    meshes.append({"name": "frusta", "primitives": [file.primitive(LINES, lines, color)]})
    document = _document(scene, views, meshes, file)
    with replace_when_done(path) as temporary, temporary.open("wb") as out:
        text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        out.write(struct.pack("<5I", MAGIC, VERSION, 28 + len(text) + file.size, len(text), JSON_CHUNK) + text)
        out.write(struct.pack("<2I", file.size, BIN_CHUNK))
        for part in file.parts:
            out.write(part)


def linear_colors(
    colors: NDArray[np.uint8],  # (P, 3) sRGB
) -> NDArray[np.uint8]:  # (P, 4) linear light, as COLOR_0 is defined
    """Undo the sRGB curve (IEC 61966-2-1); alpha is full."""
    encoded = np.arange(256) / 255
    light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    table = np.rint(255 * light).astype(np.uint8)
    return np.concatenate([table[colors], np.full((len(colors), 1), 255, np.uint8)], axis=1)


class _Buffer:
    """The binary chunk as it grows, with its views and accessors."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def primitive(self, mode: int, points: NDArray[np.float32], colors: NDArray[np.uint8]) -> dict[str, Any]:
        """Append points (P, 3) and colours (P, 4)."""
        bounds = {"min": points.min(axis=0).tolist(), "max": points.max(axis=0).tolist()}
        position = self._accessor(
            points.astype("<f4").tobytes(), {"componentType": FLOAT, "type": "VEC3", "count": len(points)} | bounds
        )
        shade = {"componentType": UBYTE, "normalized": True, "type": "VEC4", "count": len(colors)}
        color = self._accessor(colors.tobytes(), shade)
        return {"mode": mode, "material": 0, "attributes": {"POSITION": position, "COLOR_0": color}}

    def _accessor(self, content: bytes, described: dict[str, Any]) -> int:
        """Both kinds of rows are multiples of four bytes, so that everything stays aligned."""
        self.views.append({"buffer": 0, "byteOffset": self.size, "byteLength": len(content), "target": 34962})
        self.accessors.append({"bufferView": len(self.views) - 1, **described})
        self.parts.append(content)
        self.size += len(content)
        return len(self.accessors) - 1


def _document(scene: Reconstruction, views: list[ExportedView], meshes: list[dict[str, Any]], file: _Buffer) -> dict[str, Any]:
    children: list[dict[str, Any]] = [{"name": mesh["name"], "mesh": number} for number, mesh in enumerate(meshes)]
    for number, view in enumerate(views):
        matrix = (AXES_TO_OPENGL @ view.cam2world_gl).T.ravel().tolist()  # glTF writes columns
        children.append({"name": view.name, "camera": number, "matrix": matrix})
    root = {"name": "mast3r", "children": list(range(1, len(children) + 1))}
    return {
        "asset": {"version": "2.0", "generator": "mast3r_engine", "extras": {"notes": selection_notes(scene)}},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [root, *children],
        "cameras": [_camera(view) for view in views],
        "materials": [UNLIT],
        "meshes": meshes,
        "accessors": file.accessors,
        "bufferViews": file.views,
        "buffers": [{"byteLength": file.size}],
    }


def _camera(view: ExportedView) -> dict[str, Any]:
    yfov = float(2 * np.arctan(view.height / (2 * view.fy)))
    return {
        "name": view.name,
        "type": "perspective",
        "perspective": {"aspectRatio": view.width / view.height, "yfov": yfov, "znear": 0.01},
    }


def _frustum(view: ExportedView, depth: float) -> NDArray[np.float64]:  # (16, 3) ends of eight lines, in the world
    corners = np.array([[0, 0], [view.width, 0], [view.width, view.height], [0, view.height]], np.float64)
    rays = np.column_stack([(corners - [view.cx, view.cy]) / [view.fx, view.fy], np.ones(4)]) * depth
    base = rays @ view.cam2world[:3, :3].T + view.cam2world[:3, 3]
    apex = np.repeat(view.cam2world[None, :3, 3], 4, axis=0)
    lines: NDArray[np.float64] = np.stack([apex, base, base, np.roll(base, -1, axis=0)], axis=1).reshape(-1, 3)
    return lines


def _extent(points: NDArray[np.float32], views: list[ExportedView]) -> float:
    """Diagonal of the box around the cameras and all but the farthest points."""
    centres = np.stack([view.cam2world[:3, 3] for view in views])
    sample = points[:: max(1, len(points) // 20_000)].astype(np.float64)
    if len(sample):
        low, high = np.quantile(sample, (0.01, 0.99), axis=0)
        centres = np.concatenate([centres, low[None], high[None]])
    return max(float(np.linalg.norm(np.ptp(centres, axis=0))), 1e-6)
