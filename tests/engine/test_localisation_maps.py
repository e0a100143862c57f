"""Localisation in frozen scenes, on the oracle: one pose from several photographs, several maps, priors, refusals, bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mast3r_engine import reconstruct
from mast3r_engine.errors import ForeignNetworkError, MapError, OptionsError, StoredDataError
from mast3r_engine.evaluation.localisation_study import summarise
from mast3r_engine.evaluation.map_study import case_in_map, exact_map, localize_last, scene_with_query
from mast3r_engine.evaluation.oracle import OracleNetwork, OracleScene, Room, grey_image, look_at, make_scene, render_view
from mast3r_engine.evaluation.trajectory import rotation_angle
from mast3r_engine.localisation import (
    MapPhoto,
    MapPose,
    MapPrior,
    SceneMap,
    freeze_map,
    localize_in_maps,
    map_from_bytes,
    map_to_bytes,
)
from mast3r_engine.reconstruction import Reconstruction

HEIGHT, WIDTH = 96, 128
VIEWS, QUERY = 7, 3  # six map photographs on an arc; the query between them


@dataclass(frozen=True)
class Stand:
    """A map of all views but the query, which the oracle knows too."""

    scene: OracleScene
    network: OracleNetwork
    reconstruction: Reconstruction
    map: SceneMap
    behind: SceneMap  # of the room's other side
    true: np.ndarray  # (4, 4) the query's cam2map

    def localize(self, **changes: object) -> MapPose:
        given: dict[str, object] = {"camera": self.scene.views[QUERY].K} | changes
        return localize_in_maps(image(QUERY), [self.map], self.network, **given)  # type: ignore[arg-type]


def image(number: int) -> np.ndarray:
    return grey_image(number, HEIGHT, WIDTH)


def build(seed: int) -> Stand:
    front = make_scene(VIEWS, HEIGHT, WIDTH, seed=seed, arc_degrees=60)
    away = [look_at(np.array([x, -0.3, 0.0]), np.array([0.8 * x, 0.0, -3.0])) for x in (-0.6, 0.0, 0.6)]
    scene = OracleScene(front.room, (*front.views, *(render_view(front.room, pose, 110.0, HEIGHT, WIDTH) for pose in away)))
    network = OracleNetwork(scene, seed=seed)
    images, behind = [image(k) for k in range(VIEWS) if k != QUERY], [image(VIEWS + k) for k in range(3)]
    reconstruction = reconstruct(images, network)
    true = np.linalg.inv(scene.views[0].cam2world) @ scene.views[QUERY].cam2world
    maps = freeze_map(reconstruction, images, network), freeze_map(reconstruct(behind, network), behind, network)
    return Stand(scene, network, reconstruction, *maps, true)


@pytest.fixture(scope="module")
def stand() -> Stand:
    return build(2)


def test_a_query_is_found_in_the_maps_frame(stand: Stand) -> None:
    answer = stand.localize()
    assert answer.localized
    assert (answer.reason, answer.detail, answer.map_index, answer.metric) == (None, "", 0, True)
    assert np.linalg.norm(answer.position - stand.true[:3, 3]) < 0.03
    assert rotation_angle(answer.cam2map[:3, :3], stand.true[:3, :3]) < 0.3
    assert answer.inliers > 500
    assert answer.reprojection_px < 1.5
    assert answer.frame == "first registered photo of component 0"
    assert set(answer.seconds) == {"encode", "retrieve", "decode", "match", "pose"}
    assert np.linalg.eigvalsh(answer.covariance)[0] > 0


def test_more_photographs_make_it_more_certain(stand: Stand) -> None:
    one, six = (stand.localize(top_k=k) for k in (2, 6))
    assert (len(one.photos), len(six.photos)) == (2, 6)
    assert np.trace(six.position_covariance) < np.trace(one.position_covariance)


def test_a_camera_that_is_not_given_is_estimated(stand: Stand) -> None:
    answer = stand.localize(camera=None)
    assert answer.query_intrinsics is not None
    assert answer.query_intrinsics.source == "estimated"
    assert answer.query_intrinsics.K[0, 0] == pytest.approx(stand.scene.views[QUERY].K[0, 0], rel=0.03)
    assert np.linalg.norm(answer.position - stand.true[:3, 3]) < 0.08


def test_a_map_read_back_gives_the_same_answer(stand: Stand) -> None:
    data = map_to_bytes(stand.map)
    restored = map_from_bytes(data)
    answer = localize_in_maps(image(QUERY), [restored], stand.network, camera=stand.scene.views[QUERY].K)
    np.testing.assert_array_equal(answer.cam2map, stand.localize().cam2map)
    assert (restored.names, restored.metric, restored.frame, restored.component) == (
        stand.map.names,
        True,
        stand.map.frame,
        0,
    )
    assert restored.nbytes == stand.map.nbytes
    with pytest.raises(StoredDataError):
        map_from_bytes(data[:-5])
    damaged = bytearray(data)
    damaged[-1] ^= 1
    with pytest.raises(StoredDataError, match="checksum"):
        map_from_bytes(bytes(damaged))


def test_the_best_supported_map_wins(stand: Stand) -> None:
    """A map of the room's other side takes part in the search; the answer says in which map it stands."""
    answer = localize_in_maps(image(QUERY), [stand.behind, stand.map], stand.network, camera=stand.scene.views[QUERY].K, top_k=6)
    assert answer.localized
    assert answer.map_index == 1
    assert answer.reasons[0] is not None
    assert answer.reasons[1] is None
    assert np.linalg.norm(answer.position - stand.true[:3, 3]) < 0.03
    assert [photo.map_index for photo in answer.photos] == [0, 0, 0, 1, 1, 1]


def test_a_query_that_shares_nothing_with_the_map_is_refused(stand: Stand) -> None:
    answer = localize_in_maps(image(QUERY), [stand.behind], stand.network, camera=stand.scene.views[QUERY].K)
    assert not answer.localized
    assert answer.reason in ("no_overlap", "too_few_inliers", "inconsistent_directions", "uncertain")
    assert answer.detail


def test_a_prior_leaves_out_what_it_cannot_see(stand: Stand) -> None:
    both = replace(stand.map, photos=stand.map.photos + turned_round(stand.map), descriptors=stand.map.descriptors.repeat(2, 1))
    prior = MapPrior.near(stand.true, 0.3, 20.0)
    answer = localize_in_maps(image(QUERY), [both], stand.network, camera=stand.scene.views[QUERY].K, prior=prior, top_k=12)
    assert {photo.name for photo in answer.photos} <= set(stand.map.names)
    assert answer.localized
    assert np.linalg.norm(answer.position - stand.true[:3, 3]) < 0.03


def turned_round(scene_map: SceneMap) -> tuple[MapPhoto, ...]:
    """Photographs at the same places that look away from what the map shows."""
    half_turn = np.diag([-1.0, 1.0, -1.0, 1.0])
    return tuple(
        replace(photo, cam2map=photo.cam2map @ half_turn, reference=replace(photo.reference, name=f"away_{k}"))
        for k, photo in enumerate(scene_map.photos)
    )


def test_a_pose_outside_the_prior_is_refused(stand: Stand) -> None:
    far = MapPrior.at(stand.true[:3, 3] + [0.6, 0.0, 0.0], 0.3)
    answer = stand.localize(prior=far)
    assert (answer.localized, answer.reason) == (False, "contradicts_prior")
    np.testing.assert_allclose(answer.position, stand.true[:3, 3], atol=0.03)  # the best guess is told all the same
    turned = stand.true.copy()
    turned[:3, :3] = turned[:3, :3] @ Rotation.from_rotvec([0, 0, np.radians(40)]).as_matrix()
    assert stand.localize(prior=MapPrior.near(turned, 0.3, 20.0)).reason == "contradicts_prior"
    assert stand.localize(prior=MapPrior.near(turned, 0.3, 45.0)).localized


def test_a_prior_beyond_the_map_searches_nothing(stand: Stand) -> None:
    answer = stand.localize(prior=MapPrior.at([500.0, 0.0, 0.0], 1.0))
    assert (answer.localized, answer.reason, answer.photos) == (False, "outside_map", ())
    assert np.isnan(answer.cam2map).all()


def test_a_wall_is_not_ambiguous_when_it_is_seen_in_perspective() -> None:
    """Every point on one plane; the mirrored pose explains the pixels worse, and the pose is given."""
    wall = Room(np.array([[-30.0, -30, -30], [30, 30, 3.0]]), np.zeros((0, 2, 3)), np.zeros((0, 4)))
    places = [([-1.0, 0, 0], [-0.3, 0, 3]), ([1.0, 0.2, 0], [0.4, 0, 3]), ([0.2, 0.1, 0.3], [0.1, 0.2, 3])]
    poses = [look_at(np.array(centre), np.array(target)) for centre, target in places]
    scene = OracleScene(wall, tuple(render_view(wall, pose, 110.0, HEIGHT, WIDTH) for pose in poses))
    network = OracleNetwork(scene)
    answer = localize_last(scene, exact_map(scene, network), network, 2)
    assert answer.localized
    assert np.linalg.norm(answer.position - poses[2][:3, 3]) < 0.08


@pytest.mark.slow
@pytest.mark.parametrize("photos", [1, 2])
def test_the_covariance_of_exact_maps_is_calibrated(photos: int) -> None:
    """20 maps each; the limits are the issue's, widened by three of what 20 cases of six axes scatter by."""
    cases = []
    for seed in range(900, 920):
        scene = scene_with_query(seed, photos)
        network = OracleNetwork(scene, seed=seed)
        scene_map = exact_map(scene, network)
        cases.append(case_in_map(localize_last(scene, scene_map, network, photos), scene, scene_map))
    summary = summarise(cases)
    assert sum(summary.refused.values()) <= 2
    assert 0.7 - 0.4 < summary.nees < 1.3 + 0.4
    assert summary.within_3_sigma.min() > 0.985 - 3 * np.sqrt(0.985 * 0.015 / 20)


def test_a_reconstructed_map_counts_its_own_cameras_as_wrong(stand: Stand) -> None:
    """What the map adds lies along the query's line of sight and is there even where all photographs agree."""
    surveyed = replace(stand.map, camera_error=0.0)
    answers = [
        localize_in_maps(image(QUERY), [m], stand.network, camera=stand.scene.views[QUERY].K) for m in (surveyed, stand.map)
    ]
    np.testing.assert_array_equal(answers[0].cam2map, answers[1].cam2map)
    added = answers[1].body_covariance - answers[0].body_covariance
    assert added[2, 2] > 10 * added[0, 0] > 0
    assert 1.5 < np.sqrt(added[2, 2]) / stand.map.camera_error < 5.0  # metres to what it sees


def test_what_cannot_be_a_map_is_named(stand: Stand) -> None:
    images = [image(k) for k in range(VIEWS) if k != QUERY]
    with pytest.raises(MapError, match="5 images for a reconstruction of 6"):
        freeze_map(stand.reconstruction, images[:5], stand.network)
    with pytest.raises(MapError, match="no photograph in component 3; it has components 0"):
        freeze_map(stand.reconstruction, images, stand.network, component=3)
    with pytest.raises(MapError, match="not as it was reconstructed"):
        freeze_map(stand.reconstruction, [*images[:5], grey_image(6, 2 * HEIGHT, WIDTH)], stand.network)
    with pytest.raises(MapError, match="no map"):
        localize_in_maps(image(QUERY), [], stand.network)
    with pytest.raises(MapError, match="2 priors for 1 maps"):
        localize_in_maps(image(QUERY), [stand.map], stand.network, prior=[None, None])
    with pytest.raises(MapError, match="top_k is 0"):
        localize_in_maps(image(QUERY), [stand.map], stand.network, top_k=0)
    with pytest.raises(ForeignNetworkError, match="map 0"):
        localize_in_maps(image(QUERY), [replace(stand.map, fingerprint="other")], stand.network)
    with pytest.raises(OptionsError, match="radius is -1"):
        MapPrior.at([0, 0, 0], -1)
    with pytest.raises(OptionsError, match="rigid motion"):
        MapPrior.near(2 * np.eye(4), 1)
