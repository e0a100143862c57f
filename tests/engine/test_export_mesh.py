"""mesh.ply: a surface where the room's surfaces are, and a remedy where open3d is missing."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from mast3r_engine.errors import ExportError
from mast3r_engine.export import mesh, write_artifacts
from tests.engine.posed_room import distance_to_surface, to_room
from tests.engine.room_reconstruction import room_reconstruction


def test_open3d_missing_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(ExportError, match=r"mast3r-service\[mesh\].*libusb-1\.0-0") as failure:
        write_artifacts(room_reconstruction(1), tmp_path, ["mesh.ply"])
    assert failure.value.code == "export_failed"
    assert list(tmp_path.iterdir()) == []


def test_the_surface_lies_on_the_walls_and_faces_the_cameras(tmp_path: Path) -> None:
    pytest.importorskip("open3d", exc_type=ImportError)
    trimesh = pytest.importorskip("trimesh", exc_type=ImportError)
    scene = room_reconstruction(4)
    write_artifacts(scene, tmp_path, ["mesh.ply"])
    read = trimesh.load(tmp_path / "mesh.ply", process=False)
    assert len(read.faces) > 5000
    distance = distance_to_surface(to_room(read.vertices, 4))
    assert np.median(distance) < 0.01, "metres"
    assert np.quantile(distance, 0.95) < 0.03, "metres; pixels are about 4 cm wide on the walls"
    centre = scene.cam2world[:, :3, 3].mean(axis=0)
    towards = ((centre - read.triangles_center) * read.face_normals).sum(axis=1)
    assert (towards > 0).mean() > 0.9
    nearest = np.linalg.norm(scene.points[:, None, :][::50] - read.vertices[None, ::20], axis=2).argmin(axis=1)
    difference = np.abs(read.visual.vertex_colors[::20, :3].astype(int)[nearest] - scene.colors[::50])
    assert np.median(difference) < 20, "of 255"


def test_the_same_scene_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("open3d", exc_type=ImportError)
    one = write_artifacts(room_reconstruction(2), tmp_path / "one", ["mesh.ply"])
    two = write_artifacts(room_reconstruction(2), tmp_path / "two", ["mesh.ply"])
    assert one == two


def test_only_sure_pixels_of_the_largest_component(tmp_path: Path) -> None:
    pytest.importorskip("open3d", exc_type=ImportError)
    scene = room_reconstruction(3, component=[0, 0, 1])
    scene.confidence[0][:, :48] = 1.0  # below the least sure point of the cloud
    write_artifacts(scene, tmp_path, ["mesh.ply"])
    less = PlyData.read(tmp_path / "mesh.ply")
    write_artifacts(room_reconstruction(3, component=[0, 0, 1]), tmp_path, ["mesh.ply"])
    assert 0 < len(less["face"].data) < len(PlyData.read(tmp_path / "mesh.ply")["face"].data)
    nothing = dataclasses.replace(scene, confidence=[np.zeros_like(values) for values in scene.confidence])
    with pytest.raises(ExportError, match="min_confidence"):
        write_artifacts(nothing, tmp_path / "none", ["mesh.ply"])


def test_large_scenes_get_larger_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = room_reconstruction(2)
    known = [depth[depth > 0] for depth in scene.depth]
    usual = mesh._voxel_size(scene, [0, 1], known)
    monkeypatch.setattr(mesh, "MAX_BLOCKS", 10)
    assert mesh._voxel_size(scene, [0, 1], known) > 2 * usual
