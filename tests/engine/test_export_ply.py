"""PLY clouds, read back by plyfile and open3d."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from mast3r_engine.export import write_ply, write_scene_ply
from tests.engine.room_reconstruction import room_reconstruction


def test_plyfile_reads_what_was_written(tmp_path: Path) -> None:
    scene = room_reconstruction()
    write_scene_ply(scene, tmp_path / "scene.ply")
    ply = PlyData.read(tmp_path / "scene.ply")
    assert ply.byte_order == "<"
    assert not ply.text
    vertex = ply["vertex"]
    assert [p.name for p in vertex.properties] == ["x", "y", "z", "nx", "ny", "nz", "red", "green", "blue", "confidence"]
    assert vertex.count == len(scene.points) > 4000
    np.testing.assert_array_equal(np.stack([vertex[k] for k in "xyz"], axis=1), scene.points)
    np.testing.assert_array_equal(np.stack([vertex[k] for k in ("nx", "ny", "nz")], axis=1), scene.normals)
    np.testing.assert_array_equal(np.stack([vertex[k] for k in ("red", "green", "blue")], axis=1), scene.colors)
    np.testing.assert_array_equal(vertex["confidence"], scene.point_confidence)
    assert any("opencv" in comment for comment in ply.comments)
    assert "unit metre" in ply.comments


def test_open3d_reads_what_was_written(tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d", exc_type=ImportError)
    scene = room_reconstruction()
    write_scene_ply(scene, tmp_path / "scene.ply")
    cloud = open3d.io.read_point_cloud(str(tmp_path / "scene.ply"))
    np.testing.assert_allclose(np.asarray(cloud.points), scene.points)
    np.testing.assert_allclose(np.asarray(cloud.normals), scene.normals)
    np.testing.assert_allclose(np.asarray(cloud.colors) * 255, scene.colors, atol=1e-3)


def test_meshlab_reads_what_was_written(tmp_path: Path) -> None:
    pymeshlab = pytest.importorskip("pymeshlab", exc_type=ImportError)
    scene = room_reconstruction()
    write_scene_ply(scene, tmp_path / "scene.ply")
    meshes = pymeshlab.MeshSet()
    meshes.load_new_mesh(str(tmp_path / "scene.ply"))
    mesh = meshes.current_mesh()
    np.testing.assert_array_equal(mesh.vertex_matrix(), scene.points)
    np.testing.assert_allclose(mesh.vertex_normal_matrix(), scene.normals, atol=1e-6)
    np.testing.assert_allclose(mesh.vertex_color_matrix()[:, :3] * 255, scene.colors, atol=1e-3)


def test_several_components_are_told_apart(tmp_path: Path) -> None:
    scene = dataclasses.replace(room_reconstruction(3, component=[0, 0, 1]), metric=False)
    write_scene_ply(scene, tmp_path / "scene.ply")
    ply = PlyData.read(tmp_path / "scene.ply")
    np.testing.assert_array_equal(ply["vertex"]["component"], scene.point_component)
    assert "unit arbitrary" in ply.comments
    assert any("own frame" in comment for comment in ply.comments)


def test_an_empty_cloud_is_a_valid_file(tmp_path: Path) -> None:
    write_ply(tmp_path / "empty.ply", np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
    assert PlyData.read(tmp_path / "empty.ply")["vertex"].count == 0


def test_points_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    points = np.array([[0, 0, 1], [np.nan, 0, 1], [0, np.inf, 1], [4, 5, 6]], np.float32)
    colors = np.arange(12, dtype=np.uint8).reshape(4, 3)
    write_ply(tmp_path / "cloud.ply", points, colors, scalars={"confidence": np.arange(4, dtype=np.float32)})
    vertex = PlyData.read(tmp_path / "cloud.ply")["vertex"]
    np.testing.assert_array_equal(vertex["x"], [0, 4])
    np.testing.assert_array_equal(vertex["red"], [0, 9])
    np.testing.assert_array_equal(vertex["confidence"], [0, 3])
    np.testing.assert_array_equal(vertex["nx"], [0, 0])


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    points, colors = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.uint8)
    write_ply(tmp_path / "cloud.ply", points, colors)
    before = (tmp_path / "cloud.ply").read_bytes()
    with pytest.raises(KeyError):
        write_ply(tmp_path / "cloud.ply", points, colors, scalars={"confidence": np.zeros(2, np.complex64)})  # type: ignore[dict-item]
    assert (tmp_path / "cloud.ply").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["cloud.ply"]
