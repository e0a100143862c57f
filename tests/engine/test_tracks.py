"""Tracks and their triangulation: exact where everything is exact, robust where matches are wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mast3r_engine.correspondences import PairMatches
from mast3r_engine.reconstruction import Reconstruction
from mast3r_engine.tracks import build_tracks, triangulation
from mast3r_engine.tracks.joining import join_pixels
from mast3r_engine.tracks.triangulation import Cameras, Observations, triangulate
from tests.engine.exported_oracle import SCALE, oracle_scene
from tests.engine.posed_room import distance_to_surface, to_room
from tests.engine.room_reconstruction import room_reconstruction


def sightings(scene: Reconstruction, points: np.ndarray, noise: float = 0.0, depth_noise: float = 0.0) -> Observations:
    """All cameras of the room see all `points`, as if the walls were glass."""
    rng, n = np.random.default_rng(0), len(scene.names)
    track, image = np.repeat(np.arange(len(points)), n), np.tile(np.arange(n), len(points))
    cameras = Cameras(scene.network_intrinsics, scene.cam2world)
    xy = cameras.project(image, points[track]) + noise * rng.standard_normal((len(track), 2))
    depth = cameras.to_camera(image, points[track])[:, 2] * (1 + depth_noise * rng.standard_normal(len(track)))
    return Observations(track, image, xy, depth)


def in_front(scene: Reconstruction, count: int) -> np.ndarray:  # (count, 3)
    """Points of the cloud that lie before every camera."""
    poses = scene.cam2world
    depth = np.einsum("nj,npj->np", poses[:, :3, 2], scene.points[None] - poses[:, None, :3, 3])
    points = scene.points[(depth > 0.5).all(axis=0)].astype(np.float64)
    return points[:: len(points) // count][:count]


def with_matches(scene: Reconstruction, step: int = 4) -> Reconstruction:
    """Matches of a grid of pixels of photo 0 with what the others see there, rounded to pixels."""
    cameras = Cameras(scene.network_intrinsics, scene.cam2world)
    H, W = scene.depth[0].shape
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(0, W, step), np.arange(0, H, step)))
    here = np.stack([x, y], axis=1)
    points = cameras.lift(np.zeros(len(x), int), here.astype(float), scene.depth[0][y, x].astype(float))
    matches = []
    for j in range(1, len(scene.names)):
        there = np.rint(np.nan_to_num(cameras.project(np.full(len(x), j), points), nan=-1)).astype(int)
        inside = (there >= 0).all(1) & (there < [W, H]).all(1)
        matches.append(PairMatches(0, j, here[inside], there[inside], np.ones(inside.sum(), np.float32)))
    return dataclasses.replace(scene, matches=matches)


def test_exact_sightings_give_exact_points() -> None:
    scene = room_reconstruction(4)
    points = in_front(scene, 50)
    found = triangulate(sightings(scene, points, depth_noise=0.0), Cameras(scene.network_intrinsics, scene.cam2world))
    np.testing.assert_allclose(found, points, atol=1e-9)


def test_pixels_decide_over_wrong_depths_and_one_wrong_sighting_is_outvoted() -> None:
    scene = room_reconstruction(5)
    points = in_front(scene, 100)
    seen = sightings(scene, points, noise=0.3, depth_noise=0.05)
    seen.xy[seen.image == 2] += 25.0
    found = triangulate(seen, Cameras(scene.network_intrinsics, scene.cam2world))
    error = np.linalg.norm(found - points, axis=1)
    lifted = Cameras(scene.network_intrinsics, scene.cam2world).lift(seen.image, seen.xy, seen.depth)
    assert np.median(error) < 0.03 < 0.1 < np.median(np.linalg.norm(lifted - points[seen.track], axis=1)), "metres"


def test_depth_holds_a_point_that_parallax_does_not() -> None:
    scene = room_reconstruction(2)
    scene.cam2world[1] = scene.cam2world[0]
    points = in_front(scene, 20)
    found = triangulate(sightings(scene, points, noise=0.3), Cameras(scene.network_intrinsics, scene.cam2world))
    assert np.linalg.norm(found - points, axis=1).max() < 0.1, "metres"


def test_points_solved_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = room_reconstruction(3)
    seen = sightings(scene, in_front(scene, 40), noise=0.5, depth_noise=0.05)
    seen = seen.keep(np.random.default_rng(4).uniform(size=len(seen.track)) > 0.3)  # tracks of one, two and three
    cameras = Cameras(scene.network_intrinsics, scene.cam2world)
    whole = triangulate(seen, cameras)
    for at_once in (1, 7):
        monkeypatch.setattr(triangulation, "AT_ONCE", at_once)
        np.testing.assert_allclose(triangulate(seen, cameras), whole, atol=1e-9)


def test_no_sighting_at_all() -> None:
    scene = room_reconstruction(2)
    assert len(build_tracks(scene).points) == 0
    assert len(build_tracks(dataclasses.replace(scene, matches=[PairMatches(0, 1, *_none())])).points) == 0


def _none() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64), np.zeros(0, np.float32)


def test_pairs_join_to_tracks_of_all_photographs() -> None:
    scene = with_matches(room_reconstruction(4))
    tracks = build_tracks(scene)
    length = np.bincount(tracks.track)
    assert length.max() == 4
    assert (length >= 2).all()
    assert (length == 4).mean() > 0.2
    # A point that another surface hides from photo j contradicts the depth of j, and its match is not taken.
    assert np.quantile(distance_to_surface(to_room(tracks.points, 4)), 0.95) < 0.05, "metres"
    scale = np.array(scene.geometry[0].scale)
    assert tracks.error.mean() < 0.4 * scale[0], "half a network pixel of rounding at most"
    for i in range(4):
        np.testing.assert_array_equal(tracks.keypoint[tracks.image == i], np.arange((tracks.image == i).sum()))


def test_wrong_matches_do_not_enter() -> None:
    scene = with_matches(room_reconstruction(4))
    rng = np.random.default_rng(1)
    wrong = [
        dataclasses.replace(
            pair,
            xy_i=np.concatenate([pair.xy_i, pair.xy_i]),
            xy_j=np.concatenate([pair.xy_j, rng.integers(0, [96, 72], pair.xy_j.shape)]),
            conf=np.ones(2 * len(pair), np.float32),
        )
        for pair in scene.matches
    ]
    clean, spoilt = build_tracks(scene), build_tracks(dataclasses.replace(scene, matches=wrong))
    assert len(spoilt.points) == len(clean.points)
    assert np.quantile(distance_to_surface(to_room(spoilt.points, 4)), 0.95) < 0.06, "metres"


def test_two_pixels_of_one_photograph_in_a_track_leave_the_better_one() -> None:
    scene = with_matches(room_reconstruction(2))
    pair = scene.matches[0]
    beside = pair.xy_j + [1, 0]
    inside = beside[:, 0] < 96
    both = PairMatches(
        0,
        1,
        np.concatenate([pair.xy_i, pair.xy_i[inside]]),
        np.concatenate([pair.xy_j, beside[inside]]),
        np.ones(len(pair) + inside.sum(), np.float32),
    )
    tracks = build_tracks(dataclasses.replace(scene, matches=[both]))
    seen = tracks.track * 2 + tracks.image
    assert len(np.unique(seen)) == len(seen)
    assert (np.bincount(tracks.track) == 2).all()
    assert len(tracks.points) > 0.8 * len(build_tracks(scene).points)


def test_matches_that_link_neighbours_do_not_swallow_each_other() -> None:
    """Every pixel matched with where it is seen: rounding chains whole rows together."""
    scene = with_matches(room_reconstruction(3), step=1)
    back = with_matches(dataclasses.replace(scene, **{name: getattr(scene, name)[::-1] for name in ("cam2world", "depth")}), 1)
    turned = [PairMatches(0, 2, back.matches[1].xy_j, back.matches[1].xy_i, back.matches[1].conf)]
    tracks = build_tracks(dataclasses.replace(scene, matches=[*scene.matches, *turned]))
    seen = tracks.track * 3 + tracks.image
    assert len(np.unique(seen)) == len(seen)
    assert len(tracks.points) > 0.3 * scene.depth[0].size
    assert np.quantile(distance_to_surface(to_room(tracks.points, 3)), 0.95) < 0.08, "metres"


def test_a_contradiction_is_resolved_in_favour_of_the_surer_match() -> None:
    first, second = np.array([0, 1, 3]), np.array([1, 2, 4])  # 0 and 2 lie in one photograph, ten pixels apart
    image, xy = np.array([0, 1, 0, 0, 1]), np.array([[5, 5], [7, 7], [15, 5], [30, 30], [31, 31]])
    label = join_pixels(first, second, np.array([1.0, 2.0, 1.0], np.float32), image, xy)
    assert label[1] == label[2] != label[0]
    assert label[3] == label[4]
    assert len(set(label.tolist())) == 3
    near = xy.copy()
    near[2] = [6, 5]
    assert len(set(join_pixels(first, second, np.ones(3, np.float32), image, near).tolist())) == 2


def test_the_pipeline_hands_over_the_matches_and_files_it_used() -> None:
    scene = oracle_scene()
    assert [(pair.i, pair.j) for pair in scene.matches] == [(stats.i, stats.j) for stats in scene.pairs if stats.inliers > 0]
    assert [len(pair) for pair in scene.matches] == [stats.matches for stats in scene.pairs if stats.inliers > 0]
    assert [path.name for path in scene.sources if path] == scene.names
    tracks = build_tracks(scene)
    assert len(tracks.points) > 2000
    assert np.median(tracks.error) < 0.4 * SCALE
