"""COLMAP models as pycolmap reads them: cameras, tracks, errors, and a bundle adjustment that starts from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mast3r_engine.errors import ExportError
from mast3r_engine.evaluation.trajectory import trajectory_errors
from mast3r_engine.export import write_artifacts
from mast3r_engine.export.colmap_model import model_with_tracks
from mast3r_engine.reconstruction import Reconstruction
from tests.engine.exported_oracle import SCALE, VIEWS, oracle_scene, truth, unpack
from tests.engine.room_reconstruction import room_reconstruction

pycolmap = pytest.importorskip("pycolmap", exc_type=ImportError)


def read(scene: Reconstruction, folder: Path, name: str = "colmap.zip") -> Any:
    write_artifacts(scene, folder, [name])
    return pycolmap.Reconstruction(str(unpack(folder / name) / "sparse" / "0"))


def poses_of(model: Any) -> np.ndarray:  # (N, 4, 4) cam2world in the order of the image ids
    poses = []
    for _, image in sorted(model.images.items()):
        pose = np.eye(4)
        pose[:3] = image.cam_from_world().matrix()
        poses.append(np.linalg.inv(pose))
    return np.stack(poses)


@pytest.mark.parametrize("name", ["colmap.zip", "colmap_text.zip"])
def test_cameras_and_names_come_back(tmp_path: Path, name: str) -> None:
    scene, model = oracle_scene(), read(oracle_scene(), tmp_path, name)
    assert [image.name for _, image in sorted(model.images.items())] == [f"photo_{k}_für.png" for k in range(VIEWS)]
    np.testing.assert_allclose(poses_of(model), scene.cam2world, atol=1e-9)
    for i, image in model.images.items():
        camera, K = model.cameras[image.camera_id], scene.intrinsics[i - 1]
        assert camera.model.name == "PINHOLE"
        assert (camera.width, camera.height) == (400, 300)
        np.testing.assert_array_equal(camera.params, [K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5])
        assert camera.params[2] == pytest.approx(200, abs=2), "the middle of the image in COLMAP's pixels"


def test_text_and_binary_hold_the_same_model(tmp_path: Path) -> None:
    one, two = read(oracle_scene(), tmp_path), read(oracle_scene(), tmp_path, "colmap_text.zip")
    assert one.num_points3D() == two.num_points3D() > 2000
    for number, point in one.points3D.items():
        other = two.points3D[number]
        np.testing.assert_array_equal(point.xyz, other.xyz)
        np.testing.assert_array_equal(point.color, other.color)
        assert point.error == other.error
        assert [(e.image_id, e.point2D_idx) for e in point.track.elements] == [
            (e.image_id, e.point2D_idx) for e in other.track.elements
        ]


def test_reprojection_errors_are_what_pycolmap_computes_itself(tmp_path: Path) -> None:
    model, ours = read(oracle_scene(), tmp_path), model_with_tracks(oracle_scene()).points
    model.update_point_3d_errors()
    theirs = np.array([model.points3D[number + 1].error for number in range(len(ours.xyz))])
    np.testing.assert_allclose(theirs, ours.error, atol=1e-9)
    assert 0.1 * SCALE < ours.error.mean() < 0.5 * SCALE, "matches are rounded to network pixels"


def test_keypoints_are_pixel_centres_and_tracks_point_to_them(tmp_path: Path) -> None:
    model = read(oracle_scene(), tmp_path)
    for image in model.images.values():
        xy = np.array([keypoint.xy for keypoint in image.points2D])
        network = xy / SCALE - 0.5  # corner origin: the middle of the first network pixel is at half a network pixel
        np.testing.assert_allclose(network, np.rint(network), atol=1e-9)
        assert all(keypoint.has_point3D() for keypoint in image.points2D)
    for number, point in model.points3D.items():
        images = [element.image_id for element in point.track.elements]
        assert len(images) == len(set(images)) >= 2
        for element in point.track.elements:
            assert model.images[element.image_id].points2D[element.point2D_idx].point3D_id == number


def adjust(model: Any, focal: bool) -> Any:
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_principal_point, options.refine_focal_length, options.print_summary = False, focal, False
    config = pycolmap.BundleAdjustmentConfig()
    for number in model.images:
        config.add_image(number)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    summary = pycolmap.create_default_bundle_adjuster(options, config, model).solve()
    model.update_point_3d_errors()
    return summary


@pytest.mark.parametrize(("focal", "ate"), [(False, 0.004), (True, 0.012)])
def test_bundle_adjustment_converges_from_it(tmp_path: Path, focal: bool, ate: float) -> None:
    """With the focal lengths free, five photographs along one arc say less about them than the network did."""
    model = read(oracle_scene(), tmp_path)
    before = model.compute_mean_reprojection_error()
    assert adjust(model, focal).termination_type.name == "CONVERGENCE"
    assert 0.85 * before < model.compute_mean_reprojection_error() <= before, "it was close to the minimum"
    assert trajectory_errors(poses_of(model), truth()).ate < ate, "metres"


def test_bundle_adjustment_finds_back_from_displaced_cameras(tmp_path: Path) -> None:
    model, rng = read(oracle_scene(), tmp_path), np.random.default_rng(3)
    for number in (2, 4):
        image = model.images[number]
        moved = pycolmap.Rigid3d(pycolmap.Rotation3d(rng.normal(0, 0.01, 3)), rng.normal(0, 0.03, 3))
        model.frame(image.frame_id).rig_from_world = moved * image.cam_from_world()
    displaced = trajectory_errors(poses_of(model), truth()).ate
    adjust(model, focal=False)
    assert trajectory_errors(poses_of(model), truth()).ate < 0.005 < 0.02 < displaced, "metres"


def test_one_camera_for_photographs_that_share_their_intrinsics(tmp_path: Path) -> None:
    model = read(room_reconstruction(3), tmp_path)
    assert (len(model.cameras), len(model.images)) == (1, 3)


def test_without_matches_there_are_cameras_and_no_points(tmp_path: Path) -> None:
    for name in ("colmap.zip", "colmap_text.zip"):
        model = read(room_reconstruction(3), tmp_path, name)
        assert (model.num_points3D(), len(model.images)) == (0, 3)
    assert "no points: the network gave no matches" in (tmp_path / "colmap" / "README.txt").read_text(encoding="utf-8")


def test_only_the_largest_component_is_in_it_and_the_file_says_so(tmp_path: Path) -> None:
    scene = oracle_scene()
    component = np.array([0, 1, 0, 0, -1])
    apart = dataclasses.replace(scene, component=component, unregistered=[(4, scene.names[4], "no pair holds")])
    model = read(apart, tmp_path)
    assert sorted(model.images) == [1, 3, 4]
    seen = {element.image_id for point in model.points3D.values() for element in point.track.elements}
    assert seen == {1, 3, 4}
    text = (tmp_path / "colmap" / "README.txt").read_text(encoding="utf-8")
    assert "3 of 5 photographs: the largest of 2 components" in text
    assert "left out: photo 1 für.png (component 1)" in text
    assert "left out: photo 4 für.png (no pair holds)" in text
    assert "renamed: photo 0 für.png is here photo_0_für.png" in text


def test_nothing_registered_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no photograph is registered"):
        write_artifacts(room_reconstruction(2, component=[-1, -1]), tmp_path, ["colmap.zip"])
    assert list(tmp_path.iterdir()) == []
