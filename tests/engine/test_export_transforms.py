"""transforms.json against what nerfstudio and instant-ngp document: OpenGL axes, corner-origin pixels, one world with the PLY."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from mast3r_engine.export import write_artifacts
from mast3r_engine.export.transforms import transforms_document
from tests.engine.exported_oracle import oracle_scene
from tests.engine.room_reconstruction import room_reconstruction

PER_CAMERA = {"camera_model", "fl_x", "fl_y", "cx", "cy", "w", "h"}


def test_points_project_where_the_photograph_sees_them(tmp_path: Path) -> None:
    scene = oracle_scene()
    write_artifacts(scene, tmp_path, ["transforms.json"])
    document = json.loads((tmp_path / "transforms.json").read_text(encoding="utf-8"))
    assert document["ply_file_path"] == "scene.ply"
    assert "applied_transform" not in document
    assert not PER_CAMERA & set(document), "a key at the top would override those of the frames"
    for k, frame in enumerate(document["frames"]):
        assert frame["file_path"] == f"images/photo_{k}_für.png"
        K, size = scene.network_intrinsics[k], np.array([3.125, 3.125])
        pixels = np.array([[0.0, 0.0], [127.0, 95.0], [40.0, 20.0]])
        depth = scene.depth[k][pixels[:, 1].astype(int), pixels[:, 0].astype(int)].astype(np.float64)
        rays = np.column_stack([(pixels - K[:2, 2]) / K[[0, 1], [0, 1]], np.ones(3)])
        world = (rays * depth[:, None]) @ scene.cam2world[k][:3, :3].T + scene.cam2world[k][:3, 3]
        local = (np.linalg.inv(np.array(frame["transform_matrix"])) @ np.column_stack([world, np.ones(3)]).T).T
        assert (local[:, 2] < 0).all(), "OpenGL cameras look along -z"
        x = frame["fl_x"] * local[:, 0] / -local[:, 2] + frame["cx"]
        y = frame["fl_y"] * -local[:, 1] / -local[:, 2] + frame["cy"]
        np.testing.assert_allclose(np.column_stack([x, y]), (pixels + 0.5) * size, atol=1e-6)


def test_shared_intrinsics_stand_at_the_top() -> None:
    document = transforms_document(room_reconstruction(3))
    assert set(document) >= PER_CAMERA
    assert (document["w"], document["h"], document["camera_model"]) == (400, 300, "OPENCV")
    assert all(set(frame) == {"file_path", "transform_matrix"} for frame in document["frames"])
    assert document["aabb_scale"] in {1, 2, 4, 8, 16, 32, 64, 128}
    assert document["aabb_scale"] >= 0.66 * np.quantile(np.abs(room_reconstruction(3).points), 0.95)


def test_the_box_holds_the_scene_up_to_the_largest_that_is_allowed() -> None:
    scene = room_reconstruction(2)
    far = dataclasses.replace(scene, points=scene.points * np.float32(1000))
    assert transforms_document(far)["aabb_scale"] == 128


def test_several_components_leave_the_cloud_out(tmp_path: Path) -> None:
    scene = room_reconstruction(3, component=[0, 0, 1])
    write_artifacts(scene, tmp_path, ["transforms.json"])
    document = json.loads((tmp_path / "transforms.json").read_text(), parse_constant=pytest.fail)
    assert "ply_file_path" not in document, "scene.ply holds points of both frames"
    assert len(document["frames"]) == 2
    assert "2 of 3 photographs: the largest of 2 components, which share no frame" in document["notes"]
