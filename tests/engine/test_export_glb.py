"""scene.glb: bytes as glTF 2.0 has them, and what trimesh makes of it."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mast3r_engine.export import glb, write_artifacts
from mast3r_engine.export.glb import linear_colors
from mast3r_engine.reconstruction import Reconstruction
from tests.engine.exported_oracle import oracle_scene
from tests.engine.room_reconstruction import room_reconstruction

UP = np.array([1, -1, -1], np.float32)  # from y down, z forward to y up
COMPONENTS = {5126: np.dtype("<f4"), 5121: np.dtype("u1")}


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    magic, version, length, json_length, json_kind = struct.unpack_from("<5I", content)
    assert (magic, version, length, json_kind) == (0x46546C67, 2, len(content), 0x4E4F534A)
    bin_length, bin_kind = struct.unpack_from("<2I", content, 20 + json_length)
    assert bin_kind == 0x004E4942
    assert json_length % 4 == bin_length % 4 == 0
    document = json.loads(content[20 : 20 + json_length], parse_constant=pytest.fail)
    binary = content[28 + json_length :]
    assert len(binary) == bin_length == document["buffers"][0]["byteLength"]
    return document, binary


def values(document: dict[str, Any], binary: bytes, accessor: int) -> np.ndarray:
    about = document["accessors"][accessor]
    view = document["bufferViews"][about["bufferView"]]
    width = {"VEC3": 3, "VEC4": 4}[about["type"]]
    assert view["byteOffset"] % 4 == 0
    raw = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    return np.frombuffer(raw, COMPONENTS[about["componentType"]]).reshape(about["count"], width)


def written(scene: Reconstruction, folder: Path) -> tuple[dict[str, Any], bytes]:
    write_artifacts(scene, folder, ["scene.glb"])
    return parts(folder / "scene.glb")


def test_the_document_is_what_the_format_demands(tmp_path: Path) -> None:
    document, binary = written(room_reconstruction(3), tmp_path)
    assert document["extensionsUsed"] == ["KHR_materials_unlit"]
    assert document["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    cloud = document["meshes"][0]["primitives"][0]
    assert cloud["mode"] == 0
    points = values(document, binary, cloud["attributes"]["POSITION"])
    np.testing.assert_array_equal(points, room_reconstruction(3).points * UP)
    about = document["accessors"][cloud["attributes"]["POSITION"]]
    np.testing.assert_array_equal(about["min"], points.min(axis=0))
    np.testing.assert_array_equal(about["max"], points.max(axis=0))
    colors = values(document, binary, cloud["attributes"]["COLOR_0"])
    assert document["accessors"][cloud["attributes"]["COLOR_0"]]["normalized"] is True
    light = (colors[:, :3] / 255.0) ** (1 / 2.2)  # the sRGB curve is near this power
    np.testing.assert_allclose(light, room_reconstruction(3).colors / 255, atol=0.05)
    assert (colors[:, 3] == 255).all()


def test_cameras_stand_where_they_were_and_look_into_the_scene(tmp_path: Path) -> None:
    scene = room_reconstruction(3)
    document, _ = written(scene, tmp_path)
    nodes = [node for node in document["nodes"] if "camera" in node]
    assert [node["name"] for node in nodes] == ["photo_0_für.jpg", "photo_1_für.jpg", "photo_2_für.jpg"]
    for k, node in enumerate(nodes):
        pose = np.array(node["matrix"]).reshape(4, 4).T
        np.testing.assert_allclose(pose[:3, 3], scene.cam2world[k][:3, 3] * UP, atol=1e-12)
        np.testing.assert_allclose(-pose[:3, 2], scene.cam2world[k][:3, 2] * UP, atol=1e-12)  # glTF cameras look along -z
        np.testing.assert_allclose(pose[:3, 1], -scene.cam2world[k][:3, 1] * UP, atol=1e-12)  # and y is up
        lens = document["cameras"][node["camera"]]["perspective"]
        assert lens["aspectRatio"] == pytest.approx(400 / 300)
        assert np.tan(lens["yfov"] / 2) == pytest.approx(150 / scene.intrinsics[k, 1, 1])


def test_trimesh_reads_cloud_and_cameras_with_y_up(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh", exc_type=ImportError)
    scene = oracle_scene()
    written(scene, tmp_path)
    loaded = trimesh.load(tmp_path / "scene.glb")
    cloud = loaded.geometry["cloud"]
    matrix, _ = loaded.graph[loaded.graph.geometry_nodes["cloud"][0]]
    np.testing.assert_array_equal(np.asarray(cloud.vertices, np.float32), scene.points * UP)
    np.testing.assert_array_equal(matrix, np.eye(4))
    np.testing.assert_array_equal(cloud.colors[:, :3], linear_colors(scene.colors)[:, :3])
    assert len(loaded.geometry["frusta"].entities) == 1
    for k in range(5):
        pose, _ = loaded.graph[f"photo_{k}_für.png"]
        np.testing.assert_allclose(pose, np.diag([1.0, -1, -1, 1]) @ scene.cam2world[k] @ np.diag([1.0, -1, -1, 1]), atol=1e-9)


def test_large_clouds_are_split_and_empty_ones_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = room_reconstruction(2)
    monkeypatch.setattr(glb, "MAX_VERTICES", 1000)
    document, binary = written(scene, tmp_path)
    primitives = document["meshes"][0]["primitives"]
    assert len(primitives) == -(-len(scene.points) // 1000) > 2
    together = np.concatenate([values(document, binary, part["attributes"]["POSITION"]) for part in primitives])
    np.testing.assert_array_equal(together, scene.points * UP)
    none = {name: getattr(scene, name)[:0] for name in ("points", "colors", "normals", "point_confidence", "point_component")}
    document, _ = written(dataclasses.replace(scene, **none), tmp_path)
    assert [mesh["name"] for mesh in document["meshes"]] == ["frusta"]


def test_only_points_of_the_largest_component(tmp_path: Path) -> None:
    scene = room_reconstruction(3, component=[0, 0, 1])
    document, binary = written(scene, tmp_path)
    points = values(document, binary, document["meshes"][0]["primitives"][0]["attributes"]["POSITION"])
    np.testing.assert_array_equal(points, scene.points[scene.point_component == 0] * UP)
    assert 0 < len(points) < len(scene.points)
    assert len(document["cameras"]) == 2


def test_linear_light_of_known_colours() -> None:
    got = linear_colors(np.array([[0, 255, 188], [10, 128, 99]], np.uint8))
    np.testing.assert_array_equal(got, [[0, 255, 128, 255], [1, 55, 32, 255]])
