"""`mesh.ply`: a surface through the depth maps of the largest component, by fusing truncated signed distances (open3d)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.errors import ExportError
from mast3r_engine.export.ply import write_ply
from mast3r_engine.export.selection import exported_cloud, nearest_colors, selection_notes
from mast3r_engine.reconstruction import Reconstruction

VOXELS_PER_PIXEL = 1.5  # edge of a voxel: the median width of a pixel on the surface, times this
TRUNCATION = 4.0  # voxels
BLOCK = 8  # voxels along the edge of a block; 4 KB each
BLOCKS_PER_VOXEL_AREA = 3 / BLOCK**2  # of surface: blocks stand about three deep across the truncation
SEEN_ONCE = 0.5  # weight that every corner of a triangle's voxels must exceed
MAX_BLOCKS = 150_000  # bounds memory: larger scenes get larger voxels


def write_mesh(scene: Reconstruction, path: Path) -> None:
    """Write the mesh, its vertices coloured like the nearest points of the cloud.

    Pixels less sure than the least sure point of the cloud are left out. ExportError, with the remedy, without open3d.
    """
    open3d = _open3d()
    used = [int(i) for i in np.flatnonzero(scene.component == 0)]
    depths = {i: _sure_depth(scene, i) for i in used}
    known = [depth[depth > 0] for depth in depths.values()]
    if not any(len(values) for values in known):
        raise ExportError("no pixel is sure enough for a surface; lower fusion.min_confidence")
    voxel = _voxel_size(scene, used, known)
    grid = open3d.t.geometry.VoxelBlockGrid(
        attr_names=("tsdf", "weight"),
        attr_dtypes=(open3d.core.float32, open3d.core.float32),
        attr_channels=((1,), (1,)),
        voxel_size=voxel,
        block_resolution=BLOCK,
        block_count=1024,  # to begin with; it grows
        device=open3d.core.Device("CPU:0"),
    )
    for i in used:
        _integrate(open3d, grid, depths[i], scene.network_intrinsics[i], scene.cam2world[i])
    vertices, faces, normals = _ordered(grid.extract_triangle_mesh(SEEN_ONCE).to_legacy())
    comments = ["generator mast3r_engine", "axes opencv", f"voxel {voxel:.6g}", *selection_notes(scene)[:2]]
    write_ply(path, vertices, nearest_colors(exported_cloud(scene), vertices), normals, None, comments, faces)


def _open3d() -> Any:
    """The module, or an error that says what to install."""
    try:
        import open3d
    except ImportError as error:  # the package, or a system library that it loads
        raise ExportError(
            f"mesh.ply needs open3d, which cannot be imported ({error}); run pip install 'mast3r-service[mesh]' "
            "and, on Debian or Ubuntu, apt install libusb-1.0-0 libgomp1"
        ) from error
    return open3d


def _sure_depth(scene: Reconstruction, i: int) -> NDArray[np.float32]:  # (h, w), 0 where nothing is sure
    least = float(scene.point_confidence.min(initial=np.inf)) if len(scene.point_confidence) else 0.0
    depth = np.where(scene.confidence[i] >= least, scene.depth[i], np.nan)
    sure: NDArray[np.float32] = np.where(np.isfinite(depth) & (depth > 0), depth, 0.0).astype(np.float32)
    return sure


def _voxel_size(scene: Reconstruction, used: list[int], known: list[NDArray[np.float32]]) -> float:
    widths = np.concatenate([values / scene.network_intrinsics[i, 0, 0] for i, values in zip(used, known, strict=True)])
    voxel = VOXELS_PER_PIXEL * float(np.median(widths))
    blocks = BLOCKS_PER_VOXEL_AREA * float((widths.astype(np.float64) ** 2).sum()) / voxel**2  # if no two pixels overlapped
    return voxel * max(1.0, float(np.sqrt(blocks / MAX_BLOCKS)))


def _integrate(
    open3d: Any,
    grid: Any,
    depth: NDArray[np.float32],  # (h, w)
    K: NDArray[np.float64],  # (3, 3), pixel centres at integers
    cam2world: NDArray[np.float64],  # (4, 4)
) -> None:
    picture = open3d.t.geometry.Image(open3d.core.Tensor(np.ascontiguousarray(depth)))
    corner = K + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])  # open3d cuts projections off to whole pixels, it does not round
    seen = picture, open3d.core.Tensor(corner), open3d.core.Tensor(np.linalg.inv(cam2world))
    reach = 1.0, 2 * float(depth.max()) + 1.0, TRUNCATION  # depth units, deepest depth taken, truncation in voxels
    if depth.any():
        grid.integrate(grid.compute_unique_block_coordinates(*seen, *reach), *seen, *reach)


def _ordered(mesh: Any) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Vertices (V, 3), faces (F, 3) and normals (V, 3) in an order of their own: open3d's depends on its threads."""
    mesh.compute_vertex_normals()
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.triangles)
    order = np.lexsort(vertices.T[::-1])
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    faces = place[faces].reshape(-1, 3)
    first = faces.argmin(axis=1)[:, None] if len(faces) else np.zeros((0, 1), np.int64)
    faces = np.take_along_axis(faces, (first + np.arange(3)) % 3, axis=1)  # turned, never flipped
    faces = faces[np.lexsort(faces.T[::-1])]
    return vertices[order].astype(np.float32), faces, np.asarray(mesh.vertex_normals)[order].astype(np.float32)
