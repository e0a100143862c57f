"""Priors from the user's names and pixels to results and files, through the whole of `reconstruct`."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import zipfile
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import ExifTags, Image

from mast3r_engine import (
    CameraPrior,
    DepthPrior,
    KnownDistance,
    KnownScale,
    Lens,
    Mask,
    Options,
    PosePrior,
    Priors,
    PriorsError,
    Reconstruction,
    UpDirection,
    reconstruct,
)
from mast3r_engine.alignment import align_single, place
from mast3r_engine.evaluation.oracle import OracleNetwork
from mast3r_engine.export import load_poses_schema, poses_document, write_artifacts
from mast3r_engine.undistortion import in_undistorted
from mast3r_engine.view_priors import Placing
from tests.engine.exact_pairs import exact_canonicals
from tests.engine.room_reconstruction import room_reconstruction
from tests.engine.standing_in import StandIn, exact_oracle, photos

ORACLE = exact_oracle()
NAMES = [f"image_{k:03d}" for k in range(4)]
H, W = 96, 128


def run(priors: Priors, oracle: OracleNetwork = ORACLE) -> Reconstruction:
    return reconstruct(photos(oracle), oracle, priors=priors)


@functools.cache
def plain() -> Reconstruction:
    """Without priors; no test may change it."""
    return run(Priors())


def user_poses(scale: float = 1.0) -> dict[str, PosePrior]:
    """The true poses, in a frame of the user's own choice."""
    poses = {}
    for name, view in zip(NAMES, ORACLE.scene.views, strict=True):
        pose = view.cam2world.copy()
        pose[:3, 3] *= scale
        poses[name] = PosePrior(pose)
    return poses


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        (Priors(poses={"nobody.jpg": PosePrior(np.eye(4))}), "nobody.jpg, which is not among the photographs"),
        (Priors(masks={NAMES[0]: Mask(np.ones((W, H), bool))}), "image_000: the mask is 96x128 pixels and the photograph 128x96"),
        (Priors(depths={NAMES[1]: DepthPrior(np.ones((10, 10), np.float32))}), "image_001: the depth is 10x10"),
        (
            Priors(cameras={NAMES[0]: CameraPrior(Lens("SIMPLE_PINHOLE", (99, 50, 50), 100, 100))}),
            "image_000: the camera is 100x100",
        ),
    ],
)
def test_what_does_not_belong_is_refused_before_the_network_runs(priors: Priors, message: str) -> None:
    network = StandIn(ORACLE)
    with pytest.raises(PriorsError, match=message):
        reconstruct(photos(ORACLE), network, priors=priors)
    assert network.encoded == []


def test_two_photographs_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "a.png" for folder in "xy"]
    for k, path in enumerate(paths):
        path.parent.mkdir()
        Image.fromarray(photos(ORACLE)[k]).save(path)
    with pytest.raises(PriorsError, match=r"name a\.png and 2 photographs have that name"):
        reconstruct(paths, ORACLE, priors=Priors(poses={"a.png": PosePrior(np.eye(4))}))


def test_results_stand_in_the_users_frame_and_say_so() -> None:
    scene = run(Priors(poses=user_poses()))
    np.testing.assert_allclose(scene.cam2world, [p.cam2world for p in user_poses().values()], atol=1e-12)
    assert scene.world == poses_document(scene)["world"] == "the frame of the pose or position priors"
    assert scene.warnings == []
    assert scene.stats["priors"]["in_given_frame"]
    _, low, high = 0, scene.points.min(0), scene.points.max(0)
    walls = ORACLE.scene.room.walls
    assert (low > walls[0] - 0.1).all()  # the cloud lies in the room as the room's own axes have it
    assert (high < walls[1] + 0.1).all()
    json.dumps(scene.stats)


def test_a_wrong_prior_is_a_warning_with_the_photographs_name() -> None:
    poses = user_poses()
    moved = poses[NAMES[2]].cam2world.copy()
    moved[:3, 3] += [1.0, 0, 0]
    small = np.diag([1e-4] * 3 + [1e-5] * 3)
    wrong = {name: PosePrior(moved if name == NAMES[2] else pose.cam2world, small) for name, pose in poses.items()}
    scene = run(Priors(poses=wrong))
    (warning,) = scene.warnings
    assert warning.startswith("image_002: it came out ")
    assert scene.stats["priors"]["contradictions"][0]["photo"] == "image_002"
    np.testing.assert_allclose(scene.cam2world[:, :3, 3], [p.cam2world[:3, 3] for p in poses.values()], atol=0.02)


# --- scale and up


def test_a_known_distance_between_cameras_scales_everything() -> None:
    centres = [view.cam2world[:3, 3] for view in ORACLE.scene.views]
    told = 10 * float(np.linalg.norm(centres[0] - centres[3]))
    scene = run(Priors(distances=[KnownDistance(NAMES[0], NAMES[3], told)]))
    assert np.linalg.norm(scene.cam2world[0, :3, 3] - scene.cam2world[3, :3, 3]) == pytest.approx(told, rel=1e-6)
    assert np.median(scene.depth[1] / ORACLE.scene.views[1].depth) == pytest.approx(10, rel=0.01)
    assert scene.metric


def test_a_known_distance_between_pixels() -> None:
    view = ORACLE.scene.views[1]
    world = view.world_points()
    told = 3 * float(np.linalg.norm(world[20, 30] - world[70, 100]))
    scene = run(Priors(distances=[KnownDistance(NAMES[1], NAMES[1], told, 0.001, (30, 20), (100, 70))]))
    assert np.median(scene.depth[1] / view.depth) == pytest.approx(3, rel=0.01)


def test_the_distance_that_contradicts_the_others_is_told() -> None:
    centres = [view.cam2world[:3, 3] for view in ORACLE.scene.views]
    known = [KnownDistance(NAMES[0], NAMES[k], float(np.linalg.norm(centres[0] - centres[k]))) for k in (1, 2, 3)]
    known[2] = dataclasses.replace(known[2], metres=known[2].metres * 1.5)
    scene = run(Priors(distances=known))
    assert np.median(scene.depth[1] / ORACLE.scene.views[1].depth) == pytest.approx(1, rel=0.01)
    (warning,) = scene.warnings
    assert warning.startswith("image_000: a known distance of it, ")


def test_a_factor_on_all_lengths() -> None:
    scaled = run(Priors(scale=KnownScale(2.5)))
    np.testing.assert_allclose(scaled.cam2world[:, :3, 3], 2.5 * plain().cam2world[:, :3, 3], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("axis", "expected"), [("z", [0, 0, -1]), ("y", [0, -1, 0]), ("-y", [0, 1, 0])])
def test_gravity_turns_the_result_upright(axis: str, expected: list[float]) -> None:
    down = {name: view.cam2world[:3, :3].T @ [0, 9.81, 0] for name, view in zip(NAMES, ORACLE.scene.views, strict=True)}
    down[NAMES[3]] = np.array([1.0, 0, 0])  # a broken sensor
    scene = run(Priors(up=UpDirection(down, axis=axis)))  # type: ignore[arg-type]
    true_down = scene.cam2world[1, :3, :3] @ ORACLE.scene.views[1].cam2world[:3, :3].T @ [0, 1, 0]
    np.testing.assert_allclose(true_down, expected, atol=0.01)
    (warning,) = scene.warnings
    assert warning.startswith("image_003: its gravity is ")
    assert f"{axis} up" in scene.world


def test_the_floor_says_where_up_is() -> None:
    scene = run(Priors(up=UpDirection(dominant_plane=True)))
    down = scene.cam2world[1, :3, :3] @ ORACLE.scene.views[1].cam2world[:3, :3].T @ [0, 1, 0]
    np.testing.assert_allclose(down, [0, 0, -1], atol=0.02)
    assert scene.warnings == []


def test_a_wall_is_no_ground() -> None:
    """One photograph of a wall: every level slab through it holds as many points as those beside it."""
    wall = np.full((H, W), 4.0, np.float32)
    alone = dataclasses.replace(
        align_single(exact_canonicals(ORACLE.scene)[0]),
        depth=[wall],
        intrinsics=np.array([[[60.0, 0, 63.5], [0, 60, 47.5], [0, 0, 1]]]),
    )
    found = place(alone, Placing(ground_plane=True), seed=0)
    assert found.stats["upright"] == []
    assert [c["message"] for c in found.stats["contradictions"]] == [
        "no plane is large enough to be the ground; the result was not turned"
    ]
    np.testing.assert_array_equal(found.cam2world, alone.cam2world)


# --- masks


def left_masked() -> Priors:
    use = np.ones((H, W), bool)
    use[:, :50] = False
    return Priors(masks={NAMES[0]: Mask(use), NAMES[1]: Mask(use)})


def test_masked_pixels_give_no_match_no_depth_and_no_point() -> None:
    scene = run(left_masked())
    assert np.isnan(scene.depth[0][:, :50]).all()
    assert np.isnan(scene.confidence[0][:, :50]).all()
    assert np.isfinite(scene.depth[0][:, 50:]).all()
    assert np.isfinite(scene.depth[2]).all()
    assert len(scene.points) < len(plain().points)
    for pair in scene.matches:
        for view, xy in ((pair.i, pair.xy_i), (pair.j, pair.xy_j)):
            assert view > 1 or (xy[:, 0] >= 50).all()
    assert sum(map(len, scene.matches)) < sum(map(len, plain().matches))
    np.testing.assert_allclose(scene.cam2world[:, :3, 3], plain().cam2world[:, :3, 3], atol=0.03)


def test_a_mask_that_leaves_too_little_takes_the_photograph_out() -> None:
    use = np.zeros((H, W), bool)
    use[:4, :4] = True
    scene = run(Priors(masks={NAMES[3]: Mask(use)}))
    ((index, name, reason),) = scene.unregistered
    assert (index, name) == (3, "image_003")
    assert "too few matches" in reason


def test_the_objects_frame_is_that_of_the_masked_points(tmp_path: Path) -> None:
    use = np.zeros((H, W), bool)
    use[24:72, 32:96] = True
    scene = run(Priors(masks=dict.fromkeys(NAMES, Mask(use))))
    write_artifacts(scene, tmp_path, ["gaussianobject.zip"])
    with zipfile.ZipFile(tmp_path / "gaussianobject.zip") as archive:
        told = archive.read("README.txt").decode()
        cameras = json.loads(archive.read("dust3r_4.json"))
    assert "every mask lets through" in told
    inside = np.ones(len(scene.points), bool)
    for k in range(4):
        local = (scene.points - scene.cam2world[k, :3, 3]) @ scene.cam2world[k, :3, :3]
        xy = np.rint(local[:, :2] / local[:, 2:] * scene.intrinsics[k][0, 0] + scene.intrinsics[k][:2, 2])
        inside &= (local[:, 2] > 0) & (xy[:, 0] >= 32) & (xy[:, 0] < 96) & (xy[:, 1] >= 24) & (xy[:, 1] < 72)
    assert 0 < inside.sum() < len(scene.points)
    centre = scene.points[inside].mean(0)
    size = np.abs(scene.points[inside] - centre).max()
    np.testing.assert_allclose(cameras[1]["position"], (scene.cam2world[1, :3, 3] - centre) / size, rtol=1e-4, atol=1e-4)


# --- cameras


def test_a_fixed_lens_comes_out_as_it_went_in(tmp_path: Path) -> None:
    lenses = [
        Lens("OPENCV", (1.002 * v.K[0, 0], v.K[0, 0] / 1.002, 63.5, 47.5, -0.2, 0.05, 1e-3, -5e-4), W, H)
        for v in ORACLE.scene.views
    ]
    cameras = {name: CameraPrior(lens, "fixed") for name, lens in zip(NAMES, lenses, strict=True)}
    scene = run(Priors(cameras=cameras))
    assert [lens.model for lens in scene.lenses if lens] == ["OPENCV"] * 4
    for k, (found, lens) in enumerate(zip(scene.lenses, lenses, strict=True)):
        assert found is not None
        np.testing.assert_allclose(found.params, lens.params, rtol=1e-9)
        # A point of the cloud, seen by the original lens, lies where the undistorted pinhole has it.
        points = scene.points[:: len(scene.points) // 50]
        local = (points - scene.cam2world[k, :3, 3]) @ scene.cam2world[k, :3, :3]
        local = local[local[:, 2] > 0.5]
        in_pinhole = local[:, :2] / local[:, 2:] * np.diagonal(scene.intrinsics[k])[:2] + scene.intrinsics[k][:2, 2]
        near = (np.abs(in_pinhole - [63.5, 47.5]) < [64, 48]).all(1)
        np.testing.assert_allclose(in_undistorted(found.project(local[near]), found), in_pinhole[near], atol=1e-6)
    document = poses_document(scene)
    jsonschema.validate(document, load_poses_schema())
    assert document["images"][0]["lens"] == {"model": "OPENCV", "params": list(scene.lenses[0].params)}  # type: ignore[union-attr]
    assert document["images"][0]["K"] == scene.intrinsics[0].tolist()
    assert "lens" not in poses_document(plain())["images"][0]


def test_photographs_are_exported_undistorted(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 400).astype(np.uint8)[None, :, None].repeat(300, axis=0).repeat(3, axis=2)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    lens = Lens("SIMPLE_RADIAL", (350, 199.5, 149.5, -0.2), 400, 300)
    scene = dataclasses.replace(room_reconstruction(1), names=["a.png"], sources=[tmp_path / "a.png"], lenses=[lens])
    write_artifacts(scene, tmp_path, ["images.zip"])
    with zipfile.ZipFile(tmp_path / "images.zip") as archive:
        straight = np.asarray(Image.open(io.BytesIO(archive.read("images/a.png"))))[150, :, 0].astype(float)
    for x in (50, 120, 300):
        column = lens.project(np.array([(x - 199.5) / 350, 0.5 / 350, 1.0]))[0]
        assert straight[x] == pytest.approx(column * 255 / 399, abs=1.5)


def test_exif_focal_lengths_are_priors_where_they_are_asked_for(tmp_path: Path) -> None:
    """35 mm equivalents in whole millimetres; the last photograph was cropped and says 60 % too much."""
    paths = []
    for k, (pixels, view) in enumerate(zip(photos(ORACLE), ORACLE.scene.views, strict=True)):
        millimetres = view.K[0, 0] / np.hypot(W, H) * np.hypot(36, 24) * (1.6 if k == 3 else 1.0)
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 1  # Pillow writes no EXIF of which nothing stands at the root
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = round(millimetres)
        paths.append(tmp_path / f"{k}.png")
        Image.fromarray(pixels).save(paths[-1], exif=exif)
    ignored = reconstruct(paths, ORACLE, Options(image_size=W))
    scene = reconstruct(paths, ORACLE, Options(image_size=W), priors=Priors(exif_focal_sigma=0.005))
    assert not np.array_equal(scene.intrinsics, ignored.intrinsics)
    np.testing.assert_allclose(scene.intrinsics[:, 0, 0], [v.K[0, 0] for v in ORACLE.scene.views], rtol=0.02)
    (warning,) = scene.warnings
    assert warning.startswith("3.png: its focal length came out -3")
    assert ignored.warnings == []


def test_one_camera_of_several_photographs() -> None:
    scene = run(Priors(shared_cameras=[NAMES[:2], NAMES[2:]]))
    f = scene.intrinsics[:, 0, 0]
    assert (f[0], f[2]) == (pytest.approx(f[1], rel=1e-12), pytest.approx(f[3], rel=1e-12))
    assert abs(f[0] / f[2] - 1) > 1e-3


# --- one photograph


def test_a_photograph_alone_takes_pose_camera_and_depth() -> None:
    view, pose = ORACLE.scene.views[0], np.eye(4)
    pose[:3, 3] = [1, 2, 3]
    lens = Lens("SIMPLE_PINHOLE", (view.K[0, 0], 63.5, 47.5), W, H)
    depth = DepthPrior((2 * view.depth).astype(np.float32), 0.01)
    priors = Priors(
        cameras={"image_000": CameraPrior(lens, "fixed")}, poses={"image_000": PosePrior(pose)}, depths={"image_000": depth}
    )
    scene = reconstruct(photos(ORACLE)[:1], ORACLE, priors=priors)
    np.testing.assert_array_equal(scene.cam2world[0], pose)
    assert scene.intrinsics[0, 0, 0] == pytest.approx(view.K[0, 0])
    assert np.median(scene.depth[0] / view.depth) == pytest.approx(2, rel=1e-3)
