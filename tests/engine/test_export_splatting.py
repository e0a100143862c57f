"""Archives for Gaussian splatting: splatting.zip, instantsplat.zip, gaussianobject.zip."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from mast3r_engine.errors import ExportError
from mast3r_engine.export import write_artifacts
from mast3r_engine.reconstruction import Reconstruction
from mast3r_engine.views import ImageGeometry
from tests.engine.exported_oracle import oracle_scene, unpack
from tests.engine.room_reconstruction import room_reconstruction


def vertices(path: Path) -> np.ndarray:  # (P, 3)
    vertex = PlyData.read(path)["vertex"]
    assert [p.name for p in vertex.properties] == ["x", "y", "z", "nx", "ny", "nz", "red", "green", "blue"]
    return np.stack([vertex[axis] for axis in "xyz"], axis=1)


def unpacked(scene: Reconstruction, folder: Path, name: str) -> Path:
    write_artifacts(scene, folder, [name])
    return unpack(folder / name)


def with_another_size(scene: Reconstruction) -> Reconstruction:
    other = ImageGeometry(300, 300, 75, 75, 2, 1, 72, 72)
    depth = [*scene.depth[:-1], scene.depth[-1][:, :72]]
    return dataclasses.replace(scene, geometry=[*scene.geometry[:-1], other], depth=depth)


def test_splatting_seeds_are_the_cloud(tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap", exc_type=ImportError)
    scene = oracle_scene()
    model = pycolmap.Reconstruction(str(unpacked(scene, tmp_path, "splatting.zip") / "sparse" / "0"))
    assert (len(model.images), model.num_points3D()) == (5, len(scene.points))
    for place in (0, 1000, len(scene.points) - 1):
        np.testing.assert_array_equal(model.points3D[place + 1].xyz, scene.points[place].astype(np.float64))
        np.testing.assert_array_equal(model.points3D[place + 1].color, scene.colors[place])


def test_instantsplat_has_one_camera_and_says_what_that_costs(tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap", exc_type=ImportError)
    scene = oracle_scene()
    folder = unpacked(scene, tmp_path, "instantsplat.zip")
    place = folder / "sparse_5" / "0"
    assert sorted(path.name for path in place.iterdir()) == [
        "cameras.bin",
        "cameras.txt",
        "images.bin",
        "images.txt",
        "points3D.ply",
    ]
    np.testing.assert_array_equal(vertices(place / "points3D.ply"), scene.points)
    (place / "points3D.bin").write_bytes(bytes(8))  # pycolmap wants all three; InstantSplat does not
    (place / "points3D.txt").write_text("")
    models = [pycolmap.Reconstruction(), pycolmap.Reconstruction()]
    models[0].read_binary(str(place))
    models[1].read_text(str(place))
    for model in models:
        (camera,) = model.cameras.values()
        np.testing.assert_allclose(camera.params[:2], np.median(scene.intrinsics[:, 0, 0]), rtol=1e-9)
        for number, image in model.images.items():
            expected = np.linalg.inv(scene.cam2world[number - 1])[:3]
            np.testing.assert_allclose(image.cam_from_world().matrix(), expected, atol=1e-9)
    text = (folder / "README.txt").read_text(encoding="utf-8")
    spread = np.abs(scene.intrinsics[:, 0, 0] / np.median(scene.intrinsics[:, 0, 0]) - 1).max()
    assert f"differ by up to {100 * spread:.2f} %" in text
    assert "shared_intrinsics" in text


def test_gaussianobject_files_agree_with_each_other(tmp_path: Path) -> None:
    scene = oracle_scene()
    folder = unpacked(scene, tmp_path, "gaussianobject.zip")
    cameras = json.loads((folder / "dust3r_5.json").read_text(encoding="utf-8"))
    depth, confidence = np.load(folder / "dust3r_depth_5.npy"), np.load(folder / "dust3r_confidence_5.npy")
    points = vertices(folder / "dust3r_5.ply")
    assert [camera["id"] for camera in cameras] == [0, 1, 2, 3, 4]
    assert all(set(c) == {"id", "img_name", "width", "height", "position", "rotation", "fx", "fy"} for c in cameras)
    assert depth.shape == confidence.shape == (5, 96, 128)
    assert depth.dtype == confidence.dtype == np.float32
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-5)
    assert np.abs(points).max() == pytest.approx(1, abs=1e-6)
    size = float(np.abs(scene.points - scene.points.mean(axis=0, dtype=np.float64)).max())
    for k, camera in enumerate(cameras):
        assert (camera["width"], camera["height"]) == (400, 300)
        np.testing.assert_allclose(depth[k] * size, scene.depth[k], rtol=1e-5)
        # What the reader does: pixels of the map, lifted with its focal length, must lie on the cloud.
        y, x = np.mgrid[:96:5, :128:5]
        K = scene.network_intrinsics[k]
        z = depth[k][y, x].astype(np.float64)
        rays = np.stack(
            [(x - K[0, 2]) / (camera["fx"] / 3.125), (y - K[1, 2]) / (camera["fy"] / 3.125), np.ones_like(z)], axis=-1
        )
        world = (rays * z[..., None]) @ np.array(camera["rotation"]).T + camera["position"]
        expected = (world * size) + scene.points.mean(axis=0, dtype=np.float64)
        back = (expected - scene.cam2world[k][:3, 3]) @ scene.cam2world[k][:3, :3]
        np.testing.assert_allclose(back, rays * scene.depth[k][y, x][..., None], atol=1e-4)
    assert (folder / "sparse_5.txt").read_text().split() == ["0", "1", "2", "3", "4"]
    assert "no masks were given" in (folder / "README.txt").read_text(encoding="utf-8")


def test_gaussianobject_numbers_name_the_places_in_the_sorted_folder(tmp_path: Path) -> None:
    scene = room_reconstruction(4, component=[0, -1, 0, 0])
    scene = dataclasses.replace(scene, names=["d.jpg", "c.jpg", "b.jpg", "a.jpg"])
    folder = unpacked(scene, tmp_path, "gaussianobject.zip")
    cameras = json.loads((folder / "dust3r_3.json").read_text())
    assert [camera["img_name"] for camera in cameras] == ["a.jpg", "b.jpg", "d.jpg"]
    assert (folder / "sparse_3.txt").read_text().split() == ["0", "1", "3"]
    np.testing.assert_allclose(cameras[2]["rotation"], np.eye(3), atol=1e-12)


@pytest.mark.parametrize("name", ["gaussianobject.zip", "instantsplat.zip"])
def test_photographs_of_several_sizes_are_refused_by_name(tmp_path: Path, name: str) -> None:
    scene = with_another_size(room_reconstruction(3))
    with pytest.raises(ExportError, match="one size"):
        write_artifacts(scene, tmp_path, [name])
    told: list[str] = []
    written = write_artifacts(scene, tmp_path, [name, "poses.json"], on_impossible=lambda output, error: told.append(output))
    assert [artifact.name for artifact in written] == ["poses.json"]
    assert told == [name]
    assert [path.name for path in tmp_path.iterdir()] == ["poses.json"]
