"""`localize` as a whole, on the oracle: photographs in, a metric pose or a reason out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mast3r_engine.errors import IntrinsicsError, NetworkOutputError, OptionsError, ReferencesError
from mast3r_engine.evaluation.localisation_study import measure_pose, relative_pose
from mast3r_engine.evaluation.oracle import (
    OracleNetwork,
    OracleNoise,
    OracleScene,
    Room,
    furnished_room,
    grey_image,
    look_at,
    make_scene,
    render_view,
)
from mast3r_engine.localisation import Localization, PinholeCamera, encode_reference, localize
from mast3r_engine.localisation.baseline_scale import scale_from_baselines
from mast3r_engine.localisation.rigid_motion import left_difference
from mast3r_engine.options import LocalizeOptions
from mast3r_engine.predictions import Encoded, ViewPrediction

HEIGHT, WIDTH = 96, 128
FOCAL = 110.0


def place(room: Room, *views: tuple[list[float], list[float]]) -> OracleScene:
    poses = [look_at(np.array(centre), np.array(target)) for centre, target in views]
    return OracleScene(room, tuple(render_view(room, pose, FOCAL, HEIGHT, WIDTH) for pose in poses))


def image(number: int) -> np.ndarray:
    return grey_image(number, HEIGHT, WIDTH)


def localize_second(scene: OracleScene, **changes: object) -> Localization:
    return localize(
        image(1),
        image(0),
        OracleNetwork(scene),
        query_intrinsics=scene.views[1].K,
        reference_intrinsics=[scene.views[0].K],
        **changes,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def scene() -> OracleScene:
    return make_scene(4, HEIGHT, WIDTH, seed=2, arc_degrees=45)


@pytest.fixture(scope="module")
def world(scene: OracleScene) -> np.ndarray:
    return np.stack([view.cam2world for view in scene.views])


def test_a_query_is_localised_in_metres(scene: OracleScene) -> None:
    answer = localize_second(scene)
    error = measure_pose(answer.query2reference, answer.covariance, relative_pose(scene))
    assert answer.localized
    assert (answer.reason, answer.detail) == (None, "")
    assert error.translation < 0.06
    assert error.rotation < 0.5
    assert error.nees < 4
    assert answer.inliers > 100
    assert answer.inlier_ratio > 0.5
    assert answer.reprojection_px < 1.5
    assert answer.scale_source == "metric_point_maps"
    assert answer.query_intrinsics.source == "given"
    assert answer.cam2world is None
    assert set(answer.seconds) == {"encode", "decode", "match", "pose"}
    np.testing.assert_allclose(answer.covariance, answer.covariance.T)
    assert np.linalg.eigvalsh(answer.covariance)[0] > 0


def test_cameras_are_read_off_the_point_maps_when_they_are_not_given(scene: OracleScene) -> None:
    answer = localize(image(1), image(0), OracleNetwork(scene))
    assert answer.query_intrinsics.source == answer.references[0].intrinsics.source == "estimated"
    assert answer.query_intrinsics.K[0, 0] == pytest.approx(scene.views[1].K[0, 0], rel=0.04)
    assert measure_pose(answer.query2reference, answer.covariance, relative_pose(scene)).translation < 0.08


@pytest.mark.parametrize(("factor", "source"), [(1.0, "exif"), (2.0, "estimated")])
def test_exif_is_taken_unless_the_point_map_contradicts_it(scene: OracleScene, factor: float, source: str) -> None:
    exif = Image.Exif()
    focal_35mm = scene.views[1].K[0, 0] * factor / np.hypot(WIDTH, HEIGHT) * np.hypot(36, 24)
    exif.get_ifd(0x8769)[0xA405] = round(focal_35mm)
    photo = Image.fromarray(image(1))
    photo.info["exif"] = exif.tobytes()
    photo.getexif().load(exif.tobytes())
    answer = localize(photo, image(0), OracleNetwork(scene))
    assert answer.query_intrinsics.source == source


def test_a_photograph_of_another_size_is_answered_in_its_own_pixels(scene: OracleScene) -> None:
    """The same view at twice the size: the camera is given, and the error told, in the original's pixels."""
    big = np.full((2 * HEIGHT, 2 * WIDTH, 3), 1, np.uint8)
    K = scene.views[1].K.copy()
    K[:2] *= 2
    K[:2, 2] += 0.5
    options = LocalizeOptions(image_size=WIDTH)
    answer = localize(big, image(0), OracleNetwork(scene), options, K, [scene.views[0].K])
    same = localize_second(scene)
    np.testing.assert_allclose(answer.query2reference, same.query2reference, atol=1e-9)
    assert answer.reprojection_px == pytest.approx(2 * same.reprojection_px)


def test_a_reference_is_encoded_once(scene: OracleScene) -> None:
    network = CountingNetwork(scene)
    reference = encode_reference(image(0), network, intrinsics=scene.views[0].K)
    answers = [localize(image(k), reference, network) for k in (1, 2)]
    assert network.encoded == 3  # one reference, two queries
    assert all(answer.references[0].intrinsics.source == "given" for answer in answers)


def test_several_references_are_decoded_in_one_call(scene: OracleScene) -> None:
    network = CountingNetwork(scene)
    answer = localize(image(3), [image(0), image(1), image(2)], network)
    assert network.calls == [6]  # three references, both orders
    assert len(answer.references) == 3
    best = max(range(3), key=lambda k: answer.references[k].inliers)
    assert answer.reference_index == best
    np.testing.assert_array_equal(answer.query2reference, answer.references[best].query2reference)


def test_references_with_poses_are_fused_in_their_frame(scene: OracleScene, world: np.ndarray) -> None:
    cameras = [view.K for view in scene.views]
    answer = localize(
        image(3), [image(k) for k in range(3)], OracleNetwork(scene), None, cameras[3], cameras[:3], reference_poses=world[:3]
    )
    assert answer.localized
    assert answer.fused == (0, 1, 2)
    assert answer.cam2world is not None
    assert answer.world_covariance is not None
    error = left_difference(world[3], answer.cam2world)
    assert error @ np.linalg.solve(answer.world_covariance, error) / 6 < 4
    np.testing.assert_allclose(world[answer.reference_index] @ answer.query2reference, answer.cam2world, atol=1e-9)
    alone = [np.trace(r.covariance[:3, :3]) for r in answer.references]
    assert np.trace(answer.covariance[:3, :3]) < min(alone)


def test_a_reference_whose_pose_is_wrong_is_left_out(scene: OracleScene, world: np.ndarray) -> None:
    poses = world[:3].copy()
    poses[1, :3, 3] += [0.0, 0.0, 2.0]
    cameras = [view.K for view in scene.views]
    answer = localize(
        image(3), [image(k) for k in range(3)], OracleNetwork(scene), None, cameras[3], cameras[:3], reference_poses=poses
    )
    assert answer.fused == (0, 2)
    assert answer.cam2world is not None
    assert np.linalg.norm(answer.cam2world[:3, 3] - world[3, :3, 3]) < 0.06


def test_references_that_contradict_each_other_are_refused(scene: OracleScene, world: np.ndarray) -> None:
    poses = world[:2].copy()
    poses[1, :3, 3] += [0.0, 0.0, 2.0]
    answer = localize(image(3), [image(0), image(1)], OracleNetwork(scene), reference_poses=poses)
    assert (answer.localized, answer.reason) == (False, "inconsistent_references")


@pytest.mark.parametrize("seed", range(3))
def test_views_that_share_nothing_are_refused(seed: int) -> None:
    away = place(furnished_room(seed), ([-1, -0.3, -2], [-2.9, 0, 1]), ([1, -0.3, -2], [2.9, 0, 1]))
    answer = localize_second(away)
    assert not answer.localized
    assert answer.reason in ("no_overlap", "inconsistent_directions", "uncertain", "too_few_inliers")
    assert answer.detail


def test_a_query_at_the_references_place_has_no_parallax() -> None:
    turned = place(furnished_room(1), ([0, -0.3, -2], [0, 0, 1]), ([0, -0.3, -2], [0.6, 0.1, 1]))
    answer = localize_second(turned)
    assert (answer.localized, answer.reason) == (False, "low_parallax")
    taken = localize_second(turned, options=LocalizeOptions(min_parallax_degrees=0.0))
    assert taken.localized
    assert np.linalg.norm(taken.position) < 0.03


def test_the_same_photograph_twice_is_finite(scene: OracleScene) -> None:
    answer = localize(image(0), image(0), OracleNetwork(scene), LocalizeOptions(min_parallax_degrees=0.0))
    assert np.isfinite(answer.query2reference).all()
    assert np.linalg.norm(answer.position) < 0.02
    assert np.linalg.eigvalsh(answer.covariance)[0] > 0


def test_a_wall_is_no_obstacle_while_its_depth_tells_the_two_motions_apart() -> None:
    wall = Room(np.array([[-30.0, -30, -30], [30, 30, 3.0]]), np.zeros((0, 2, 3)), np.zeros((0, 4)))
    frontal = place(wall, ([0, 0, 0], [0, 0, 3]), ([0.6, 0.1, 0], [0.3, 0.0, 3]))
    answer = localize_second(frontal)
    error = measure_pose(answer.query2reference, answer.covariance, relative_pose(frontal))
    assert answer.localized
    assert error.translation < 0.08
    assert error.rotation < 0.5


def test_a_network_that_is_not_metric_says_so(scene: OracleScene) -> None:
    network = OracleNetwork(scene, metric=False)
    answer = localize(image(1), image(0), network)
    true = relative_pose(scene)
    assert answer.localized
    assert answer.scale_source == "network_units"
    directions = answer.position / np.linalg.norm(answer.position), true[:3, 3] / np.linalg.norm(true[:3, 3])
    assert directions[0] @ directions[1] > 0.99


def test_references_with_poses_give_lengths_to_a_network_that_has_none(scene: OracleScene, world: np.ndarray) -> None:
    """Every pass of this network has a size of its own; the rays of three references meet in the query all the same."""
    network, cameras = OracleNetwork(scene, metric=False), [view.K for view in scene.views]
    photos = [image(k) for k in range(3)]
    answer = localize(image(3), photos, network, None, cameras[3], cameras[:3], reference_poses=world[:3])
    assert answer.localized
    assert answer.scale_source == "reference_baselines"
    assert answer.cam2world is not None
    assert answer.world_covariance is not None
    assert np.linalg.norm(answer.cam2world[:3, 3] - world[3, :3, 3]) < 0.08
    error = left_difference(world[3], answer.cam2world)
    assert error @ np.linalg.solve(answer.world_covariance, error) / 6 < 4
    alone = localize(image(3), photos[0], network, None, cameras[3], cameras[:1], reference_poses=world[:1])
    assert (alone.localized, alone.reason) == (False, "low_parallax")


@pytest.mark.parametrize("behind", [False, True])
def test_rays_that_do_not_meet_give_no_lengths(behind: bool) -> None:
    """Two references one behind the other, and two that look away from each other's ray."""
    ahead = np.eye(4)
    ahead[2, 3] = 1.0
    aside, back = np.eye(4), ahead.copy()
    aside[0, 3] = 1.0
    back[:3, 3] = [0.5, 0.0, -1.0]
    towards = ahead.copy()
    towards[:3, 3] = [0.5, 0.0, 1.0]
    poses, seen = ([np.eye(4), aside], [towards, back]) if behind else ([np.eye(4), ahead], [ahead, ahead])
    assert scale_from_baselines(poses, seen, [1e-6 * np.eye(6)] * 2) is None
    inward = towards.copy()
    inward[0, 3] = -0.5
    met = scale_from_baselines([np.eye(4), aside], [towards, 3 * inward], [1e-6 * np.eye(6)] * 2)
    assert met is not None
    np.testing.assert_allclose([m.query2reference[:3, 3] for m in met], [[0.5, 0, 1], [-0.5, 0, 1]], atol=1e-9)


def test_a_network_without_descriptors_is_named(scene: OracleScene) -> None:
    with pytest.raises(NetworkOutputError, match="descriptors"):
        localize(image(1), image(0), OracleNetwork(scene, descriptors=False))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((0, 0, -110.0), "positive"),
        ((0, 0, 1e6), "do not fit"),
        ((0, 2, 500.0), "outside the image"),
        ((0, 0, np.nan), "finite"),
        ((1, 0, 3.0), "must be"),
    ],
)
def test_absurd_cameras_are_named(scene: OracleScene, change: tuple[int, int, float], message: str) -> None:
    K = scene.views[1].K.copy()
    K[change[0], change[1]] = change[2]
    with pytest.raises(IntrinsicsError, match=message):
        localize(image(1), image(0), OracleNetwork(scene), query_intrinsics=K)


def test_a_camera_of_another_image_size_is_named(scene: OracleScene) -> None:
    camera = PinholeCamera(scene.views[1].K, 640, 480)
    with pytest.raises(IntrinsicsError, match=r"640x480 pixels and this one has 128x96"):
        localize(image(1), image(0), OracleNetwork(scene), query_intrinsics=camera)
    with pytest.raises(IntrinsicsError, match="3x3"):
        localize(image(1), image(0), OracleNetwork(scene), query_intrinsics=[[1, 2], [3, 4]])


def test_impossible_references_are_named(scene: OracleScene, world: np.ndarray) -> None:
    network = OracleNetwork(scene)
    with pytest.raises(ReferencesError, match="no reference"):
        localize(image(1), [], network)
    with pytest.raises(ReferencesError, match="40 references at once; at most 32"):
        localize(image(1), [image(0)] * 40, network)
    with pytest.raises(ReferencesError, match="one for each"):
        localize(image(1), [image(0), image(2)], network, reference_intrinsics=[None])
    with pytest.raises(ReferencesError, match=r"\(2, 4, 4\)"):
        localize(image(1), [image(0), image(2)], network, reference_poses=world[:1])
    with pytest.raises(ReferencesError, match="not a rigid motion"):
        localize(image(1), image(0), network, reference_poses=2 * world[:1])


def test_options_are_checked() -> None:
    with pytest.raises(OptionsError, match="unknown option inlier_px"):
        LocalizeOptions.from_dict({"inlier_px": 2.0})
    with pytest.raises(OptionsError, match="min_inliers"):
        LocalizeOptions(min_inliers=2)
    assert LocalizeOptions.from_dict({"min_parallax_degrees": 0}) == LocalizeOptions(min_parallax_degrees=0)


def test_covariances_of_position_and_in_the_querys_axes(scene: OracleScene) -> None:
    """Samples of the left perturbation, pushed through exactly, have the covariances that the answer derives."""
    answer = localize_second(scene)
    answer = replace(answer, covariance=1e-4 * answer.covariance)
    rng = np.random.default_rng(0)
    steps = rng.multivariate_normal(np.zeros(6), answer.covariance, 20_000)
    positions = steps[:, :3] + np.cross(steps[:, 3:], answer.position)
    np.testing.assert_allclose(
        np.cov(positions.T), answer.position_covariance, rtol=0.05, atol=0.02 * np.trace(answer.position_covariance)
    )
    back = answer.reference2query
    rotations = steps[:, 3:] @ back[:3, :3].T
    np.testing.assert_allclose(
        np.cov(rotations.T), answer.body_covariance[3:, 3:], rtol=0.05, atol=0.02 * np.trace(answer.covariance[3:, 3:])
    )


class CountingNetwork(OracleNetwork):
    """Counts what it encodes and how many passes each call decodes."""

    def __init__(self, scene: OracleScene) -> None:
        super().__init__(scene, OracleNoise())
        self.encoded = 0
        self.calls: list[int] = []

    def encode(self, images: torch.Tensor) -> Encoded:
        self.encoded += len(images)
        return super().encode(images)

    def decode(self, a: Encoded, b: Encoded) -> tuple[ViewPrediction, ViewPrediction]:
        self.calls.append(len(a.tokens))
        return super().decode(a, b)
