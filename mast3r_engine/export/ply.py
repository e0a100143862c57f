"""PLY clouds, binary little-endian, with the property names that viewers and Gaussian-splatting loaders look for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.export.atomic import replace_when_done
from mast3r_engine.reconstruction import Reconstruction

PLY_TYPES = {"<f4": "float", "|u1": "uchar", "<i4": "int"}


def write_ply(
    path: Path,
    points: NDArray[np.float32],  # (P, 3)
    colors: NDArray[np.uint8],  # (P, 3)
    normals: NDArray[np.float32] | None = None,  # (P, 3); zeros when not known
    scalars: dict[str, NDArray[np.float32] | NDArray[np.int32]] | None = None,  # name -> (P,)
    comments: Sequence[str] = (),
) -> None:
    """Write `x y z nx ny nz red green blue` and the scalars; points that are not finite are left out."""
    finite = np.isfinite(points).all(axis=1)
    table: NDArray[np.void] = np.empty(len(points), _vertex_type(scalars or {}))
    vectors: list[tuple[tuple[str, str, str], NDArray[np.float32] | NDArray[np.uint8]]] = [
        (("x", "y", "z"), points),
        (("nx", "ny", "nz"), np.zeros_like(points) if normals is None else normals),
        (("red", "green", "blue"), colors),
    ]
    for names, values in vectors:
        for axis, name in enumerate(names):
            table[name] = values[:, axis]
    for name, scalar in (scalars or {}).items():
        table[name] = scalar
    table = table[finite]
    with replace_when_done(path) as temporary, temporary.open("wb") as file:
        file.write(_header(table, comments).encode("ascii", "replace"))
        table.tofile(file)


def write_scene_ply(scene: Reconstruction, path: Path) -> None:
    """Write the cloud of a reconstruction with confidences.

    Several components stand in frames of their own: then each point carries its `component` too.
    """
    several = len(np.unique(scene.point_component)) > 1
    scalars: dict[str, NDArray[np.float32] | NDArray[np.int32]] = {"confidence": scene.point_confidence}
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


def _vertex_type(scalars: dict[str, NDArray[np.float32] | NDArray[np.int32]]) -> np.dtype[np.void]:
    fields = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    fields += [(name, "|u1") for name in ("red", "green", "blue")]
    fields += [(name, values.dtype.newbyteorder("<").str) for name, values in scalars.items()]
    return np.dtype(fields)


def _header(table: NDArray[np.void], comments: Sequence[str]) -> str:
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {comment}" for comment in comments)]
    lines += [f"element vertex {len(table)}"]
    lines += [f"property {PLY_TYPES[table[name].dtype.str]} {name}" for name in table.dtype.names or ()]
    return "\n".join([*lines, "end_header", ""])
