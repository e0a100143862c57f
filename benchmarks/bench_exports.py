"""Every export opened by another program's reader, and the largest difference to the reconstruction it was made of.

    python -m benchmarks.bench_exports

The scene: five views of the noisy oracle at 128x96, from photographs of 400x300. Prints the table of docs/formats.md.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mast3r_engine import Options, Reconstruction, reconstruct
from mast3r_engine.evaluation.oracle import OracleNetwork, OracleNoise, grey_image, make_scene
from mast3r_engine.evaluation.trajectory import trajectory_errors
from mast3r_engine.export import FORMATS, write_artifacts
from mast3r_engine.export.colmap_model import model_with_tracks
from mast3r_engine.export.glb import linear_colors

VIEWS, HEIGHT, WIDTH, ORIGINAL = 5, 96, 128, (400, 300)
FLIP = np.diag([1.0, -1, -1, 1])
Rows = Iterator[tuple[str, str, str, str]]  # file, reader, what was compared, largest difference


def main() -> None:
    """Write everything, read everything, print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        oracle = OracleNetwork(make_scene(VIEWS, HEIGHT, WIDTH, arc_degrees=60), OracleNoise())
        photos = []
        for k in range(VIEWS):
            photos.append(folder / f"photo_{k}.png")
            Image.fromarray(grey_image(k, HEIGHT, WIDTH)).resize(ORIGINAL).save(photos[-1])
        scene = reconstruct(photos, oracle, Options(image_size=WIDTH))
        for artifact in write_artifacts(scene, folder, list(FORMATS)):
            if artifact.name.endswith(".zip"):
                with zipfile.ZipFile(folder / artifact.name) as archive:
                    archive.extractall(folder / Path(artifact.name).stem)
        poses = np.stack([view.cam2world for view in oracle.scene.views])
        truth = np.linalg.inv(poses[0]) @ poses
        print("| file | reader | compared | largest difference |\n|---|---|---|---|")
        for check in (check_clouds, check_colmap, check_adjustment, check_splatting, check_transforms, check_glb, check_maps):
            for row in check(scene, folder, truth):
                print("| " + " | ".join(row) + " |", flush=True)


def check_clouds(scene: Reconstruction, folder: Path, _: Any) -> Rows:
    """Points and colours as point cloud tools see them."""
    from plyfile import PlyData

    vertex = PlyData.read(folder / "scene.ply")["vertex"]
    yield "scene.ply", of("plyfile"), "points", most(np.stack([vertex[k] for k in "xyz"], 1), scene.points)
    import open3d

    cloud = open3d.io.read_point_cloud(folder / "scene.ply")
    yield "scene.ply", of("open3d-cpu"), "points", most(np.asarray(cloud.points), scene.points)
    yield "scene.ply", of("open3d-cpu"), "colours, of 255", most(np.asarray(cloud.colors) * 255, scene.colors)
    mesh = open3d.io.read_triangle_mesh(folder / "mesh.ply")
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(scene.points).query(np.asarray(mesh.vertices))
    yield "mesh.ply", of("open3d-cpu"), "median distance of vertices to the cloud, metres", f"{np.median(distance):.2g}"
    try:
        import pymeshlab
    except ImportError:
        return
    for name in ("scene.ply", "mesh.ply"):
        meshes, vertex = pymeshlab.MeshSet(), PlyData.read(folder / name)["vertex"]
        meshes.load_new_mesh(str(folder / name))
        theirs, ours = meshes.current_mesh().vertex_matrix(), np.stack([vertex[k] for k in "xyz"], 1)
        yield name, of("pymeshlab"), "points", most(theirs, ours)


def check_colmap(scene: Reconstruction, folder: Path, _: Any) -> Rows:
    """Cameras and reprojection errors, the latter computed by pycolmap itself."""
    ours = model_with_tracks(scene).points
    for name in ("colmap", "colmap_text"):
        model = read_colmap(folder / name / "sparse" / "0")
        yield f"{name}.zip", of("pycolmap"), "poses (4x4)", most(poses_of(model), scene.cam2world)
        model.update_point_3d_errors()
        errors = np.array([model.points3D[number + 1].error for number in range(len(ours.xyz))])
        yield f"{name}.zip", of("pycolmap"), f"errors of {len(errors)} points, pixels", most(errors, ours.error)


def check_adjustment(_: Reconstruction, folder: Path, truth: Any) -> Rows:
    """pycolmap's bundle adjustment from the export."""
    import pycolmap

    for free in (False, True):
        model = read_colmap(folder / "colmap" / "sparse" / "0")
        options = pycolmap.BundleAdjustmentOptions()
        options.refine_principal_point, options.refine_focal_length, options.print_summary = False, free, False
        before = model.compute_mean_reprojection_error(), trajectory_errors(poses_of(model), truth).ate
        pycolmap.bundle_adjustment(model, options)
        model.update_point_3d_errors()
        after = model.compute_mean_reprojection_error(), trajectory_errors(poses_of(model), truth).ate
        told = f"{before[0]:.3f} -> {after[0]:.3f} pixels; ATE {1000 * before[1]:.1f} -> {1000 * after[1]:.1f} mm"
        yield "colmap.zip", of("pycolmap"), f"bundle adjustment, focal lengths {'free' if free else 'fixed'}", told


def check_splatting(scene: Reconstruction, folder: Path, _: Any) -> Rows:
    """The archives for Gaussian splatting."""
    from plyfile import PlyData

    model = read_colmap(folder / "splatting" / "sparse" / "0")
    seeds = np.stack([model.points3D[number + 1].xyz for number in range(len(scene.points))])
    yield "splatting.zip", of("pycolmap"), "seeds", most(seeds, scene.points)
    place = folder / "instantsplat" / f"sparse_{VIEWS}" / "0"
    (place / "points3D.bin").write_bytes(bytes(8))  # pycolmap wants one
    yield "instantsplat.zip", of("pycolmap"), "poses (4x4)", most(poses_of(read_colmap(place)), scene.cam2world)
    place = folder / "gaussianobject"
    vertex = PlyData.read(place / f"dust3r_{VIEWS}.ply")["vertex"]
    size = np.abs(scene.points - scene.points.mean(0, dtype=np.float64)).max()
    points = np.stack([vertex[k] for k in "xyz"], 1) * size + scene.points.mean(0, dtype=np.float64)
    yield "gaussianobject.zip", of("plyfile"), "points, after undoing shift and scale", most(points, scene.points)
    depth = np.load(place / f"dust3r_depth_{VIEWS}.npy") * size
    yield "gaussianobject.zip", of("numpy"), "depths, after undoing the scale", most(depth, np.stack(scene.depth))


def check_transforms(scene: Reconstruction, folder: Path, _: Any) -> Rows:
    """Formats of text: projections by the documented rules, and the trajectory by evo."""
    frames = json.loads((folder / "transforms.json").read_text())["frames"]
    off = 0.0
    for k, frame in enumerate(frames):
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        K, pose = scene.network_intrinsics[k], scene.cam2world[k]
        rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones(x.shape)], -1) * scene.depth[k][..., None]
        world = rays @ pose[:3, :3].T + pose[:3, 3]
        matrix = np.array(frame["transform_matrix"])
        local = (world - matrix[:3, 3]) @ matrix[:3, :3]
        u = frame["fl_x"] * local[..., 0] / -local[..., 2] + frame["cx"]
        v = frame["fl_y"] * -local[..., 1] / -local[..., 2] + frame["cy"]
        off = max(off, np.abs(u - (x + 0.5) * 3.125).max(), np.abs(v - (y + 0.5) * 3.125).max())
    yield "transforms.json", "documented rules", "projections of all depth pixels, pixels", f"{off:.2g}"
    from evo.tools import file_interface

    read = file_interface.read_tum_trajectory_file(str(folder / "trajectory.txt"))
    yield "trajectory.txt", of("evo"), "poses (4x4)", most(np.stack(read.poses_se3), scene.cam2world)


def check_glb(scene: Reconstruction, folder: Path, _: Any) -> Rows:
    """Cloud and cameras as a glTF reader places them."""
    import trimesh

    loaded = trimesh.load_scene(folder / "scene.glb")
    cloud = loaded.geometry["cloud"]
    yield "scene.glb", of("trimesh"), "points, y up", most(cloud.vertices, scene.points * np.diag(FLIP)[:3])
    yield "scene.glb", of("trimesh"), "linear colours, of 255", most(cloud.colors[:, :3], linear_colors(scene.colors)[:, :3])
    cameras = np.stack([loaded.graph[f"photo_{k}.png"][0] for k in range(VIEWS)])
    yield "scene.glb", of("trimesh"), "camera poses (4x4)", most(cameras, FLIP @ scene.cam2world @ FLIP)


def check_maps(scene: Reconstruction, folder: Path, _: Any) -> Rows:
    """Maps and photographs."""
    about = json.loads((folder / "depth_png" / "maps.json").read_text())
    for kind, maps in (("depth", scene.depth), ("confidence", scene.confidence)):
        read = [np.asarray(Image.open(folder / "depth_png" / kind / entry["file"])) for entry in about["maps"]]
        told = f"{kind}, in steps of {about[f'{kind}_step']:.3g}"
        yield "depth_png.zip", of("pillow"), told, most(np.stack(read) * about[f"{kind}_step"], np.stack(maps))
    with np.load(folder / "depth.npz", allow_pickle=False) as arrays:
        read = [arrays[f"depth_{k:03d}"] for k in range(VIEWS)]
    yield "depth.npz", of("numpy"), "depth", most(np.stack(read), np.stack(scene.depth))
    same = [(folder / "images" / "images" / path.name).read_bytes() == path.read_bytes() for path in scene.sources if path]
    yield "images.zip", "bytes", "upright photographs", "0" if same == [True] * VIEWS else "differs"


def read_colmap(place: Path) -> Any:
    """The model of a folder."""
    import pycolmap

    pycolmap.logging.minloglevel = 2
    return pycolmap.Reconstruction(str(place))


def poses_of(model: Any) -> Any:  # (N, 4, 4) cam2world
    """The poses by image id."""
    world2cam = [np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]]) for _, image in sorted(model.images.items())]
    return np.linalg.inv(np.stack(world2cam))


def of(package: str) -> str:
    """The reader with its version."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


def most(theirs: Any, ours: Any) -> str:
    """The largest absolute difference."""
    return f"{np.abs(np.asarray(theirs, np.float64) - np.asarray(ours, np.float64)).max():.2g}"


if __name__ == "__main__":
    main()
