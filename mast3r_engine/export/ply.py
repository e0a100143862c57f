"""PLY clouds, binary little-endian, with the property names that viewers and Gaussian-splatting loaders look for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.export.atomic import replace_when_done
from mast3r_engine.reconstruction import Reconstruction

PLY_TYPES = {"<f4": "float", "|u1": "uchar", "<i4": "int"}
TRIANGLE = np.dtype([("count", "|u1"), ("corners", "<i4", 3)])

Scalars = dict[str, NDArray[np.float32] | NDArray[np.int32]]


def write_ply(
    path: Path,
    points: NDArray[np.float32],  # (P, 3)
    colors: NDArray[np.uint8],  # (P, 3)
    normals: NDArray[np.float32] | None = None,  # (P, 3); zeros when not known
    scalars: Scalars | None = None,  # name -> (P,)
    comments: Sequence[str] = (),
    faces: NDArray[np.int32] | None = None,  # (F, 3) triangles of a mesh, whose points are all finite
) -> None:
    """Write `x y z nx ny nz red green blue` and the scalars; points of a cloud that are not finite are left out."""
    table = _vertex_table(points, colors, normals, scalars or {})
    triangles = None if faces is None else _face_table(faces)
    with replace_when_done(path) as temporary, temporary.open("wb") as file:
        file.write(_header(table, comments, triangles))
        table.tofile(file)
        if triangles is not None:
            triangles.tofile(file)


def ply_bytes(
    points: NDArray[np.float32],  # (P, 3)
    colors: NDArray[np.uint8],  # (P, 3)
    normals: NDArray[np.float32] | None = None,  # (P, 3)
    comments: Sequence[str] = (),
) -> bytes:
    """The file that `write_ply` would write, for archives."""
    table = _vertex_table(points, colors, normals, {})
    return _header(table, comments, None) + table.tobytes()


def write_scene_ply(scene: Reconstruction, path: Path) -> None:
    """Write the cloud of a reconstruction with confidences.

    Several components stand in frames of their own: then each point carries its `component` too.
    """
    several = len(np.unique(scene.point_component)) > 1
    scalars: Scalars = {"confidence": scene.point_confidence}
    if several:
        scalars["component"] = scene.point_component
    comments = [
        "generator mast3r_engine",
        "axes opencv: x right, y down, z forward of the first registered photo",
        f"unit {'metre' if scene.metric else 'arbitrary'}",
    ]
    if several:
        comments.append("each component has its own frame: separate the points by the property component")
    write_ply(path, scene.points, scene.colors, scene.normals, scalars, comments)


def _vertex_table(
    points: NDArray[np.float32], colors: NDArray[np.uint8], normals: NDArray[np.float32] | None, scalars: Scalars
) -> NDArray[np.void]:
    table: NDArray[np.void] = np.empty(len(points), _vertex_type(scalars))
    vectors: list[tuple[tuple[str, str, str], NDArray[np.float32] | NDArray[np.uint8]]] = [
        (("x", "y", "z"), points),
        (("nx", "ny", "nz"), np.zeros_like(points) if normals is None else normals),
        (("red", "green", "blue"), colors),
    ]
    for names, values in vectors:
        for axis, name in enumerate(names):
            table[name] = values[:, axis]
    for name, scalar in scalars.items():
        table[name] = scalar
    return table[np.isfinite(points).all(axis=1)]


def _face_table(faces: NDArray[np.int32]) -> NDArray[np.void]:
    table: NDArray[np.void] = np.empty(len(faces), TRIANGLE)
    table["count"], table["corners"] = 3, faces
    return table


def _vertex_type(scalars: Scalars) -> np.dtype[np.void]:
    fields = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    fields += [(name, "|u1") for name in ("red", "green", "blue")]
    fields += [(name, values.dtype.newbyteorder("<").str) for name, values in scalars.items()]
    return np.dtype(fields)


def _header(table: NDArray[np.void], comments: Sequence[str], faces: NDArray[np.void] | None) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {comment}" for comment in comments)]
    lines += [f"element vertex {len(table)}"]
    lines += [f"property {PLY_TYPES[table[name].dtype.str]} {name}" for name in table.dtype.names or ()]
    if faces is not None:
        lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    return "\n".join([*lines, "end_header", ""]).encode("ascii", "replace")
