"""Fusion on a ray-cast room: exact surfaces in, points on them out; floating and flying points go; the budget holds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from mast3r_engine.fusion import fuse
from mast3r_engine.fusion.surface import back_project, estimate_normals, find_flying_pixels
from mast3r_engine.fusion.voxels import thin_cloud
from mast3r_engine.options import FusionOptions
from mast3r_engine.reconstruction import Alignment, PairStats
from tests.engine.posed_room import BALL, RADIUS, distance_to_surface, room_scene, to_room

EVERYTHING = FusionOptions(max_points=10_000_000)


def test_points_lie_on_the_surfaces_and_normals_face_the_camera() -> None:
    alignment, images = room_scene(3)
    cloud = fuse(alignment, images, EVERYTHING)
    assert len(cloud) > 0.97 * sum(d.size for d in alignment.depth)
    points = to_room(cloud.points, 3)
    assert distance_to_surface(points).max() < 1e-4
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-5)
    on_ball = np.abs(np.linalg.norm(points - BALL, axis=1) - RADIUS) < 1e-4
    outward = (points[on_ball] - BALL) / RADIUS
    normals = to_room(cloud.normals[on_ball], 3) - to_room(np.zeros(3), 3)
    assert np.median((outward * normals).sum(axis=1)) > 0.99
    assert (outward * normals).sum(axis=1).min() > -0.1


def test_colours_and_confidence_belong_to_their_points() -> None:
    alignment, images = room_scene(1)
    confidence = np.arange(alignment.depth[0].size, dtype=np.float32).reshape(alignment.depth[0].shape) + 2
    cloud = fuse(dataclasses.replace(alignment, confidence=[confidence]), images, EVERYTHING)
    row, column = np.divmod(cloud.confidence.astype(int) - 2, confidence.shape[1])
    np.testing.assert_array_equal(cloud.colors, images[0][row, column])
    np.testing.assert_allclose(cloud.points[:, 2], alignment.depth[0][row, column])


@pytest.mark.parametrize("budget", [1, 7, 100, 1000, 5000, 15_000])
def test_budget_is_met_and_used(budget: int) -> None:
    alignment, images = room_scene(3, noise=0.01)
    cloud = fuse(alignment, images, FusionOptions(max_points=budget))
    assert len(cloud) <= budget
    assert len(cloud) >= int(0.9 * budget)
    if budget > 1000:
        assert distance_to_surface(to_room(cloud.points, 3)).mean() < 0.05
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-5)


def test_budget_above_the_number_of_points_keeps_them_all() -> None:
    alignment, images = room_scene(1)
    assert len(fuse(alignment, images, EVERYTHING)) == fuse(alignment, images, EVERYTHING).stats["candidates"]


def test_identical_points_become_one() -> None:
    alignment, images = room_scene(1)
    same = fuse(alignment, images, EVERYTHING)[np.zeros(500, np.int64)]
    thinned, _ = thin_cloud(same, 50)
    np.testing.assert_allclose(thinned.points, same.points[:1], rtol=1e-6)
    np.testing.assert_array_equal(thinned.colors, same.colors[:1])


def test_one_far_outlier_does_not_spoil_the_voxels() -> None:
    alignment, images = room_scene(2)
    alignment.depth[0][3, 3] = 1e9
    cloud = fuse(alignment, images, FusionOptions(max_points=2000))
    assert 1800 <= len(cloud) <= 2000


def _with_floater(sure_in_front: bool) -> tuple[Alignment, list[np.ndarray]]:
    """A patch of view 0 stands at half its depth; its confidence is below (or above) that of the other views."""
    alignment, images = room_scene(5)
    alignment.depth[0][30:40, 40:50] *= 0.5
    alignment.confidence[0][30:40, 40:50] = 9.0 if sure_in_front else 2.0
    return alignment, images


def test_points_in_front_of_a_surer_surface_are_dropped() -> None:
    alignment, images = _with_floater(sure_in_front=False)
    left_in = fuse(alignment, images, dataclasses.replace(EVERYTHING, clean=False))
    cleaned = fuse(alignment, images, EVERYTHING)
    assert distance_to_surface(to_room(left_in.points, 5)).max() > 0.3
    assert distance_to_surface(to_room(cleaned.points, 5)).max() < 0.01
    assert 60 <= cleaned.stats["floating"] <= 100


def test_a_surer_point_in_front_stays() -> None:
    alignment, images = _with_floater(sure_in_front=True)
    cloud = fuse(alignment, images, EVERYTHING)
    assert cloud.stats["floating"] == 0
    assert distance_to_surface(to_room(cloud.points, 5)).max() > 0.3


def test_only_pairs_that_hold_clean() -> None:
    alignment, images = _with_floater(sure_in_front=False)
    alone = dataclasses.replace(alignment, pairs=[PairStats(0, j, 40, 0) for j in range(1, 5)])
    assert fuse(alone, images, EVERYTHING).stats["floating"] == 0


def test_depth_noise_is_not_taken_for_floating_points() -> None:
    alignment, images = room_scene(4, noise=0.02)
    for i, confidence in enumerate(alignment.confidence):
        confidence[:] = 2 + i  # every later view is surer
    cloud = fuse(alignment, images, EVERYTHING)
    assert cloud.stats["floating"] < 0.02 * sum(d.size for d in alignment.depth)


def test_order_of_views_does_not_matter() -> None:
    alignment, images = _with_floater(sure_in_front=False)
    swapped = dataclasses.replace(
        alignment,
        cam2world=alignment.cam2world[::-1].copy(),
        depth=alignment.depth[::-1],
        confidence=alignment.confidence[::-1],
    )
    one, two = fuse(alignment, images, EVERYTHING), fuse(swapped, images[::-1], EVERYTHING)
    np.testing.assert_array_equal(_sorted_rows(one.points), _sorted_rows(two.points))
    one, two = fuse(alignment, images, FusionOptions(max_points=500)), fuse(swapped, images[::-1], FusionOptions(max_points=500))
    np.testing.assert_allclose(_sorted_rows(one.points), _sorted_rows(two.points), atol=1e-5)


def test_same_input_same_bytes() -> None:
    alignment, images = room_scene(3, noise=0.02)
    one, two = (fuse(alignment, images, FusionOptions(max_points=700)) for _ in range(2))
    for name in ("points", "colors", "confidence", "normals"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()


def test_flying_pixels_go_and_sharp_edges_and_slanted_planes_stay() -> None:
    K = torch.tensor([[100.0, 0, 10], [0, 100, 10], [0, 0, 1]])
    sharp = torch.full((20, 20), 2.0)
    sharp[:, 10:] = 4.0
    assert not find_flying_pixels(sharp, K).any()
    ramp = sharp.clone()
    ramp[:, 9], ramp[:, 10] = 2.6, 3.3
    expected = torch.zeros(20, 20, dtype=torch.bool)
    expected[:, 9:11] = True
    assert torch.equal(find_flying_pixels(ramp, K), expected)
    slanted = 1.0 / (0.5 - 0.015 * torch.arange(20.0)).expand(20, 20)  # a plane: inverse depth is linear
    assert not find_flying_pixels(slanted, K).any()


def test_normals_beside_an_edge_are_those_of_their_own_plane() -> None:
    K = torch.tensor([[100.0, 0, 10], [0, 100, 10], [0, 0, 1]])
    depth = torch.full((20, 20), 2.0)
    depth[:, 10:] = 4.0
    normals = estimate_normals(back_project(depth, K))
    torch.testing.assert_close(normals, torch.tensor([0.0, 0, -1]).expand(20, 20, 3), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("H", "W"), [(1, 1), (1, 5), (5, 1)])
def test_thin_images_have_normals_towards_the_camera(H: int, W: int) -> None:
    points = back_project(torch.full((H, W), 2.0), torch.eye(3))
    normals = estimate_normals(points)
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(H, W))
    assert ((normals * points).sum(-1) < 0).all()


def test_nan_depth_and_unregistered_views_give_no_points() -> None:
    alignment, images = room_scene(3)
    alignment.depth[0][:36] = np.nan
    alignment.depth[2][:] = np.nan
    alignment.cam2world[2] = np.nan
    partial = dataclasses.replace(alignment, component=np.array([0, 0, -1]), unregistered=[(2, "no overlap")])
    cloud = fuse(partial, images, EVERYTHING)
    assert np.isfinite(cloud.points).all()
    assert len(cloud) <= 1.5 * 72 * 96
    assert len(cloud) > 1.4 * 72 * 96


def test_nothing_registered_gives_an_empty_cloud() -> None:
    alignment, images = room_scene(2)
    nothing = dataclasses.replace(alignment, component=np.array([-1, -1]))
    cloud = fuse(nothing, images)
    assert cloud.points.shape == (0, 3)
    assert cloud.warnings == []


def test_each_component_has_its_share() -> None:
    alignment, images = room_scene(3)
    two = dataclasses.replace(alignment, component=np.array([0, 0, 1]))
    cloud = fuse(two, images, FusionOptions(max_points=900))
    counts = np.bincount(cloud.component)
    assert 540 <= counts[0] <= 600 + 5
    assert 270 <= counts[1] <= 300 + 5
    assert set(cloud.stats["voxel_sizes"]) == {0, 1}


def test_unsure_points_are_left_out() -> None:
    alignment, images = room_scene(1)
    alignment.confidence[0][:30] = 1.2
    cloud = fuse(alignment, images, EVERYTHING)
    assert cloud.confidence.min() == 5.0
    assert cloud.warnings == []


def test_a_scene_without_sure_points_keeps_its_surer_half_and_says_so() -> None:
    alignment, images = room_scene(1)
    H, W = alignment.depth[0].shape
    alignment.confidence[0][:] = np.linspace(1.0, 1.4, H * W).reshape(H, W)
    cloud = fuse(alignment, images, EVERYTHING)
    assert len(cloud) == pytest.approx(H * W / 2, rel=0.03)
    assert cloud.confidence.min() > 1.19
    assert "fusion.min_confidence = 1.5" in cloud.warnings[0]


def test_progress_reaches_one_and_an_exception_cancels() -> None:
    alignment, images = room_scene(2)
    seen: list[float] = []
    fuse(alignment, images, on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0

    def cancel(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fuse(alignment, images, on_progress=cancel)


def _sorted_rows(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(points.T)]
