"""Sparse alignment as a whole, on the oracle: accuracy, what cannot be tied, and data that make no sense."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mast3r_engine.alignment import CanonicalAccumulator, align_single, align_sparse
from mast3r_engine.correspondences import PairMatches
from mast3r_engine.evaluation.oracle import (
    OracleNoise,
    OracleScene,
    Room,
    complete_graph,
    look_at,
    make_scene,
    oracle_canonicals,
    oracle_matches,
    render_view,
    wrong_matches,
)
from mast3r_engine.evaluation.trajectory import rotation_angle, trajectory_errors
from mast3r_engine.options import AlignmentOptions
from mast3r_engine.reconstruction import Alignment

NOISE = OracleNoise()
Pairs = list[tuple[int, int]]


def true_poses(scene: OracleScene) -> np.ndarray:
    return np.stack([view.cam2world for view in scene.views])


def true_focals(scene: OracleScene) -> np.ndarray:
    return np.array([view.K[0, 0] for view in scene.views])


def align(scene: OracleScene, matches: list[PairMatches], noise: OracleNoise = NOISE, **options: object) -> Alignment:
    pairs = [(m.i, m.j) for m in matches]
    return align_sparse(oracle_canonicals(scene, pairs, noise), matches, AlignmentOptions(**options), metric=True, seed=0)


def shuffled(m: PairMatches, view_j: tuple[int, int], seed: int = 0) -> PairMatches:
    """Matches of two images that have nothing in common."""
    rng = np.random.default_rng(seed)
    return PairMatches(m.i, m.j, m.xy_i, rng.integers(0, [view_j[1], view_j[0]], m.xy_j.shape), m.conf)


def test_ten_views_are_aligned_to_a_millimetre() -> None:
    scene = make_scene(10)
    result = align(scene, oracle_matches(scene, complete_graph(10), NOISE))
    errors = trajectory_errors(result.cam2world, true_poses(scene))
    assert errors.registered == 10
    assert errors.ate < 0.001
    assert errors.rotation < 0.05
    assert np.median(np.abs(result.intrinsics[:, 0, 0] / true_focals(scene) - 1)) < 0.002
    assert errors.scale == pytest.approx(1.0, abs=0.02)  # metres come from the predictions, whose scales err by 2 %
    assert np.array_equal(result.cam2world[0], np.eye(4))
    assert (result.component == 0).all()
    for k, view in enumerate(scene.views):
        error = np.abs(np.log(result.depth[k] * errors.scale / view.depth))
        assert np.median(error) < 0.004
        assert result.confidence[k].shape == view.depth.shape


def test_numbering_the_images_otherwise_changes_nothing() -> None:
    scene, pairs = make_scene(5, 96, 128, arc_degrees=60), complete_graph(5)
    canonicals, matches = oracle_canonicals(scene, pairs, NOISE), oracle_matches(scene, pairs, NOISE)
    order = [3, 0, 4, 2, 1]  # image k becomes image order[k]
    renamed = []
    for m in matches:
        i, j = order[m.i], order[m.j]
        sides = (i, j, m.xy_i, m.xy_j) if i < j else (j, i, m.xy_j, m.xy_i)
        by_position = np.lexsort((sides[3][:, 0], sides[3][:, 1], sides[2][:, 0], sides[2][:, 1]))
        renamed.append(PairMatches(sides[0], sides[1], sides[2][by_position], sides[3][by_position], m.conf[by_position]))
    permuted = [canonicals[order.index(k)] for k in range(5)]
    first = align_sparse(canonicals, matches, AlignmentOptions(), metric=True, seed=0)
    second = align_sparse(permuted, renamed[::-1], AlignmentOptions(), metric=True, seed=0)
    back = np.linalg.inv(second.cam2world[order[0]]) @ second.cam2world[order]
    np.testing.assert_allclose(back, first.cam2world, atol=1e-6)
    np.testing.assert_allclose(second.intrinsics[order], first.intrinsics, rtol=1e-6)
    for k in range(5):
        np.testing.assert_allclose(second.depth[order[k]], first.depth[k], rtol=1e-5)


def test_the_same_input_gives_the_same_result() -> None:
    scene = make_scene(3, 64, 96, arc_degrees=30)
    matches = oracle_matches(scene, complete_graph(3), NOISE)
    assert np.array_equal(align(scene, matches).cam2world, align(scene, matches).cam2world)


def test_wrong_pairs_with_many_matches_are_found_and_named() -> None:
    scene = make_scene(6, arc_degrees=50)
    matches = oracle_matches(scene, complete_graph(6), NOISE)
    deceiving = wrong_matches(scene, 1, 2)
    assert len(deceiving) > 200
    result = align(scene, [deceiving if (m.i, m.j) == (1, 2) else m for m in matches])
    assert trajectory_errors(result.cam2world, true_poses(scene)).ate < 0.003
    assert result.stats["dropped_pairs"] == [{"i": 1, "j": 2, "reason": "contradicts the other pairs"}]
    pair = next(p for p in result.pairs if (p.i, p.j) == (1, 2))
    assert (pair.matches, pair.inliers) == (len(deceiving), 0)


def test_forty_percent_outliers_and_poor_predictions() -> None:
    scene = make_scene(6, arc_degrees=60)
    noise = OracleNoise(depth=0.08, focal=0.04, scale=0.08, outlier_fraction=0.4)
    result = align(scene, oracle_matches(scene, complete_graph(6), noise), noise)
    errors = trajectory_errors(result.cam2world, true_poses(scene))
    assert errors.registered == 6
    assert errors.ate < 0.02


def test_groups_without_common_pairs_are_components() -> None:
    scene, groups = make_scene(6, 96, 128, arc_degrees=70), ([3, 4], [0, 1, 2, 5])
    pairs = [(3, 4), (0, 1), (1, 2), (0, 2), (2, 5), (1, 5)]
    result = align(scene, oracle_matches(scene, pairs, NOISE))
    assert result.component.tolist() == [0, 0, 0, 1, 1, 0]
    assert result.unregistered == []
    for group in groups:
        first = min(group)
        np.testing.assert_array_equal(result.cam2world[first], np.eye(4))
        truth = np.linalg.inv(true_poses(scene)[first]) @ true_poses(scene)[group]
        assert rotation_angle(result.cam2world[group, :3, :3], truth[:, :3, :3]).max() < 2.0


def test_a_photograph_that_matches_nothing_is_unregistered_with_a_reason() -> None:
    scene = make_scene(4, 96, 128, arc_degrees=40)
    matches = [
        shuffled(m, (96, 128), seed=k) if 2 in (m.i, m.j) else m
        for k, m in enumerate(oracle_matches(scene, complete_graph(4), NOISE))
    ]
    result = align(scene, matches)
    assert result.component.tolist() == [0, 0, -1, 0]
    assert result.unregistered == [(2, "no overlap: matches do not agree on a relative pose")]
    assert np.isnan(result.cam2world[2]).all()
    assert np.isnan(result.depth[2]).all()
    assert np.isnan(result.confidence[2]).all()


@pytest.mark.parametrize("kind", ["none", "empty", "few", "shuffled", "one pixel", "one line"])
def test_nothing_holds(kind: str) -> None:
    scene = make_scene(3, 64, 96, arc_degrees=40)
    canonicals = oracle_canonicals(scene, complete_graph(3), NOISE)
    matches = oracle_matches(scene, complete_graph(3), NOISE)
    still = np.zeros_like
    changed = {
        "none": [],
        "empty": [PairMatches(m.i, m.j, m.xy_i[:0], m.xy_j[:0], m.conf[:0]) for m in matches],
        "few": [PairMatches(m.i, m.j, m.xy_i[:20], m.xy_j[:20], m.conf[:20]) for m in matches],
        "shuffled": [shuffled(m, (64, 96), seed=k) for k, m in enumerate(matches)],
        "one pixel": [PairMatches(m.i, m.j, still(m.xy_i), still(m.xy_j), m.conf) for m in matches],
        "one line": [PairMatches(m.i, m.j, m.xy_i * [1, 0], m.xy_i * [1, 0], m.conf) for m in matches],
    }[kind]
    result = align_sparse(canonicals, changed, AlignmentOptions(), metric=True, seed=0)
    registered = result.component >= 0
    if kind == "one line":  # points on one curve of the floor may tie or not, but must not break
        assert np.isfinite(result.cam2world[registered]).all()
        return
    assert not registered.any()
    assert [index for index, _ in result.unregistered] == [0, 1, 2]
    assert all(reason for _, reason in result.unregistered)


def test_one_image_gives_its_own_point_map() -> None:
    scene = make_scene(1, 64, 96)
    accumulator = CanonicalAccumulator(64, 96, 8)
    accumulator.add(scene.views[0].points(), np.full((64, 96), 4.0))
    result = align_single(accumulator.finish())
    np.testing.assert_array_equal(result.cam2world[0], np.eye(4))
    np.testing.assert_allclose(result.depth[0], scene.views[0].depth, rtol=1e-5)
    assert result.intrinsics[0, 0, 0] == pytest.approx(scene.views[0].K[0, 0], rel=1e-4)
    assert result.component.tolist() == [0]
    assert result.unregistered == []


def test_no_image_and_missing_canonical_views() -> None:
    assert align_sparse([], [], AlignmentOptions(), metric=True, seed=0).cam2world.shape == (0, 4, 4)
    scene = make_scene(2, 64, 96, arc_degrees=20)
    matches = oracle_matches(scene, [(0, 1)], NOISE)
    canonicals = [None, oracle_canonicals(scene, [(0, 1)], NOISE)[1]]
    result = align_sparse(canonicals, matches, AlignmentOptions(), metric=True, seed=0)
    assert result.unregistered == [(0, "no overlap: nothing was predicted"), (1, "no overlap: nothing was predicted")]


def test_two_images() -> None:
    scene = make_scene(2, arc_degrees=25)
    result = align(scene, oracle_matches(scene, [(0, 1)], NOISE))
    truth = np.linalg.inv(true_poses(scene)[0]) @ true_poses(scene)[1]
    assert rotation_angle(result.cam2world[1, :3, :3], truth[:3, :3]) < 0.5
    assert np.linalg.norm(result.cam2world[1, :3, 3] - truth[:3, 3]) < 0.05


def test_the_same_photograph_twice() -> None:
    scene = make_scene(2, 96, 128, arc_degrees=20)
    twice = OracleScene(scene.room, (scene.views[0], scene.views[0], scene.views[1]))
    result = align(twice, oracle_matches(twice, complete_graph(3), NOISE))
    assert (result.component == 0).all()
    assert np.linalg.norm(result.cam2world[1, :3, 3]) < 0.02
    assert rotation_angle(result.cam2world[1, :3, :3], np.eye(3)) < 0.3


def test_pure_rotation() -> None:
    room, first = make_scene(1).room, make_scene(1).views[0]
    poses = []
    for degrees in (0, 10, 20):
        pose = first.cam2world.copy()
        pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec([0, np.radians(degrees), 0]).as_matrix()
        poses.append(pose)
    scene = OracleScene(room, tuple(render_view(room, pose, 220.0, 192, 256) for pose in poses))
    result = align(scene, oracle_matches(scene, complete_graph(3), NOISE))
    relative = np.linalg.inv(poses[0]) @ np.stack(poses)
    assert rotation_angle(result.cam2world[:, :3, :3], relative[:, :3, :3]).max() < 0.3
    assert np.linalg.norm(result.cam2world[:, :3, 3], axis=1).max() < 0.03


def test_a_bare_wall() -> None:
    room = Room(make_scene(1).room.walls, np.zeros((0, 2, 3)), np.zeros((0, 4)))
    centres = [(-1.2, -0.5, 0.6), (-0.3, -0.9, 1.0), (0.3, 0.1, 0.8), (1.2, -0.5, 0.3)]
    poses = [look_at(np.array(c), np.array([0.5 * c[0], -0.4, 3.0])) for c in centres]
    scene = OracleScene(room, tuple(render_view(room, pose, 300.0, 192, 256) for pose in poses))
    result = align(scene, oracle_matches(scene, complete_graph(4), NOISE))
    errors = trajectory_errors(result.cam2world, true_poses(scene))
    assert errors.registered == 4
    assert errors.ate < 0.06


def test_portrait_landscape_and_odd_sizes_together() -> None:
    scene = make_scene(sizes=[(96, 128), (128, 96), (100, 127), (96, 128)], arc_degrees=50)
    result = align(scene, oracle_matches(scene, complete_graph(4), NOISE))
    errors = trajectory_errors(result.cam2world, true_poses(scene))
    assert errors.registered == 4
    assert errors.ate < 0.01
    assert [depth.shape for depth in result.depth] == [(96, 128), (128, 96), (100, 127), (96, 128)]


def test_a_chain_of_neighbours() -> None:
    scene = make_scene(8, 96, 128, arc_degrees=120)
    pairs = [(i, i + 1) for i in range(7)]
    result = align(scene, oracle_matches(scene, pairs, NOISE))
    errors = trajectory_errors(result.cam2world, true_poses(scene))
    assert errors.registered == 8
    assert errors.ate < 0.05


def test_shared_intrinsics_give_one_focal_length() -> None:
    room = make_scene(1).room
    poses = true_poses(make_scene(4, arc_degrees=50))
    scene = OracleScene(room, tuple(render_view(room, pose, 110.0, 96, 128) for pose in poses))
    result = align(scene, oracle_matches(scene, complete_graph(4), NOISE), shared_intrinsics=True)
    focals = result.intrinsics[:, 0, 0]
    assert np.ptp(focals) < 1e-9
    assert focals[0] == pytest.approx(110.0, rel=0.01)


def test_progress_rises_to_one_and_may_cancel() -> None:
    scene = make_scene(3, 64, 96, arc_degrees=30)
    pairs = complete_graph(3)
    canonicals, matches = oracle_canonicals(scene, pairs, NOISE), oracle_matches(scene, pairs, NOISE)
    heard: list[float] = []
    align_sparse(canonicals, matches, AlignmentOptions(), metric=True, seed=0, on_progress=heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert len(heard) > 5

    def cancel(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align_sparse(canonicals, matches, AlignmentOptions(), metric=True, seed=0, on_progress=cancel)


def test_nan_predictions_do_not_break_the_others() -> None:
    scene, pairs = make_scene(4, 96, 128, arc_degrees=40), complete_graph(4)
    canonicals = oracle_canonicals(scene, pairs, NOISE)
    accumulator = CanonicalAccumulator(96, 128, 8)
    accumulator.add(np.full((96, 128, 3), np.nan), np.full((96, 128), np.nan))
    canonicals[3] = accumulator.finish()
    result = align_sparse(canonicals, oracle_matches(scene, pairs, NOISE), AlignmentOptions(), metric=True, seed=0)
    assert result.component[:3].tolist() == [0, 0, 0]
    truth = np.linalg.inv(true_poses(scene)[0]) @ true_poses(scene)[:3]
    assert rotation_angle(result.cam2world[:3, :3, :3], truth[:, :3, :3]).max() < 1.0
