"""The oracle: exact where it says exact, wrong by as much as it says elsewhere, and a stand-in for a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mast3r_engine.errors import NetworkOutputError
from mast3r_engine.evaluation.oracle import (
    OracleNetwork,
    OracleNoise,
    complete_graph,
    grey_image,
    make_scene,
    oracle_canonicals,
    oracle_matches,
    predict,
    wrong_matches,
)
from mast3r_engine.evaluation.oracle.noise import smooth_field
from mast3r_engine.evaluation.oracle.room import FAR, cast_rays, furnished_room
from mast3r_engine.evaluation.oracle.scene import project, visible
from mast3r_engine.predictions import PairNetwork

SCENE = make_scene(4, 64, 96, arc_degrees=50)


def as_tensor(*numbers: int, height: int = 64, width: int = 96) -> torch.Tensor:
    pixels = np.stack([grey_image(number, height, width) for number in numbers])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_rays_hit_walls_and_furniture() -> None:
    room = furnished_room()
    origin = np.array([0.0, -1.5, 0.0])
    directions = np.random.default_rng(0).standard_normal((500, 3))
    hits = origin + cast_rays(room, origin, directions)[:, None] * directions
    assert (hits >= room.walls[0] - 1e-9).all()
    assert (hits <= room.walls[1] + 1e-9).all()
    on_wall = (np.abs(hits - room.walls[0]) < 1e-9).any(1) | (np.abs(hits - room.walls[1]) < 1e-9).any(1)
    on_sphere = np.abs(np.linalg.norm(hits[:, None] - room.spheres[:, :3], axis=-1) - room.spheres[:, 3]).min(1) < 1e-9
    in_box = ((hits[:, None] >= room.boxes[:, 0] - 1e-9) & (hits[:, None] <= room.boxes[:, 1] + 1e-9)).all(-1).any(1)
    assert (on_wall | on_sphere | in_box).all()
    assert in_box.any()
    assert (cast_rays(room, origin, directions) < FAR).all()


def test_points_project_back_to_their_pixels() -> None:
    view = SCENE.views[1]
    xy, depth = project(view, view.world_points().reshape(-1, 3))
    x, y = np.meshgrid(np.arange(96), np.arange(64))
    np.testing.assert_allclose(xy, np.stack([x.ravel(), y.ravel()], 1), atol=1e-9)
    np.testing.assert_allclose(depth, view.depth.ravel())
    assert visible(view, view.world_points().reshape(-1, 3))[1].all()


def test_without_noise_predictions_are_exact() -> None:
    p = predict(SCENE, 0, 2, OracleNoise.none(), 0)
    np.testing.assert_allclose(p.pts_first, SCENE.views[0].points())
    world = p.pts_second @ SCENE.views[0].cam2world[:3, :3].T + SCENE.views[0].cam2world[:3, 3]
    np.testing.assert_allclose(world, SCENE.views[2].world_points(), atol=1e-9)
    assert p.conf_first.min() > 1


def test_depth_noise_has_the_stated_size_and_is_smooth() -> None:
    noise = OracleNoise(depth=0.02, scale=0, focal=0, rotation_degrees=0)
    errors = [np.log(predict(SCENE, a, b, noise, 0).pts_first[..., 2] / SCENE.views[a].depth) for a, b in complete_graph(4)]
    assert np.std(errors) == pytest.approx(0.02, rel=0.3)
    assert np.abs(np.diff(errors[0], axis=1)).max() < 0.01
    field = smooth_field(np.random.default_rng(0), 64, 96)
    assert field.std() == pytest.approx(1.0)


def test_predictions_of_one_image_share_half_of_their_noise() -> None:
    noise = OracleNoise(scale=0, focal=0, rotation_degrees=0)
    a, b = (np.log(predict(SCENE, 0, j, noise, 0).pts_first[..., 2] / SCENE.views[0].depth).ravel() for j in (1, 2))
    assert 0.1 < np.corrcoef(a, b)[0, 1] < 0.9


def test_confidence_reflects_the_error_imperfectly() -> None:
    p = predict(SCENE, 0, 1, OracleNoise(scale=0, focal=0), 0)
    error = np.abs(np.log(p.pts_first[..., 2] / SCENE.views[0].depth)).ravel()
    sure = p.conf_first.ravel() > np.median(p.conf_first)
    assert error[sure].mean() < 0.9 * error[~sure].mean()
    assert error[sure].max() > np.median(error[~sure])


def test_matches_join_the_same_surface_point_to_within_their_noise() -> None:
    for m in oracle_matches(SCENE, complete_graph(4), OracleNoise.none()):
        world = SCENE.views[m.i].world_points()[m.xy_i[:, 1], m.xy_i[:, 0]]
        error = np.linalg.norm(project(SCENE.views[m.j], world)[0] - m.xy_j, axis=1)
        assert np.median(error) < 0.75
        assert np.quantile(error, 0.9) < 2.5  # the other direction's rounding, stretched by foreshortening
        assert len(np.unique(np.c_[m.xy_i, m.xy_j], axis=0)) == len(m)
        assert (m.xy_j >= 0).all()
        assert (m.xy_j < [96, 64]).all()


def test_outliers_and_confidences_of_matches() -> None:
    noise = OracleNoise(outlier_fraction=0.3)
    m = oracle_matches(SCENE, [(0, 1)], noise)[0]
    world = SCENE.views[0].world_points()[m.xy_i[:, 1], m.xy_i[:, 0]]
    error = np.linalg.norm(project(SCENE.views[1], world)[0] - m.xy_j, axis=1)
    assert 0.2 < (error > 10).mean() < 0.4
    assert np.median(m.conf[error > 10]) < 0.3 * np.median(m.conf[error < 1])


def test_wrong_matches_agree_with_a_shifted_camera() -> None:
    scene = make_scene(4, arc_degrees=50)
    m = wrong_matches(scene, 0, 1)
    a = scene.views[0].world_points()[m.xy_i[:, 1], m.xy_i[:, 0]]
    b = scene.views[1].world_points()[m.xy_j[:, 1], m.xy_j[:, 0]]
    assert len(m) > 100
    np.testing.assert_allclose(np.median(b - a, axis=0), [0.9, 0.0, 0.5], atol=0.1)


def test_the_network_reads_numbers_from_grey_images() -> None:
    net = OracleNetwork(SCENE, OracleNoise.none())
    assert isinstance(net, PairNetwork)
    encoded = net.encode(as_tensor(2, 0))
    first, second = net.decode(encoded, net.encode(as_tensor(1, 3)))
    np.testing.assert_allclose(first.pts3d[0].numpy(), SCENE.views[2].points(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(first.pts3d[1].numpy(), SCENE.views[0].points(), rtol=1e-5, atol=1e-5)
    expected = predict(SCENE, 0, 3, OracleNoise.none(), 0).pts_second
    np.testing.assert_allclose(second.pts3d[1].numpy(), expected, rtol=1e-5, atol=1e-5)
    assert second.conf.shape == (2, 64, 96)
    assert first.desc is not None
    np.testing.assert_allclose(first.desc.norm(dim=-1).numpy(), 1.0, rtol=1e-5)


def test_numbers_survive_bfloat16() -> None:
    net = OracleNetwork(make_scene(3, 16, 16))
    tokens = net.encode(as_tensor(0, 1, 2, 250, height=16, width=16)).tokens
    assert tokens.to(torch.bfloat16).float()[:, 0, 0].tolist() == [0, 1, 2, 250]


def test_nearest_descriptors_are_nearest_points() -> None:
    net = OracleNetwork(SCENE, OracleNoise())
    first, second = net.decode(net.encode(as_tensor(0)), net.encode(as_tensor(1)))
    assert first.desc is not None
    assert second.desc is not None
    world = SCENE.views[0].world_points()
    xy, seen = visible(SCENE.views[1], world[::8, ::8].reshape(-1, 3))
    best = (first.desc[0, ::8, ::8].reshape(-1, 24) @ second.desc[0].reshape(-1, 24).T).argmax(1).numpy()
    error = np.linalg.norm(np.stack([best % 96, best // 96], 1) - xy, axis=1)[seen]
    assert np.median(error) < 1.5


def test_a_network_without_descriptors_and_without_metres() -> None:
    net = OracleNetwork(SCENE, OracleNoise.none(), metric=False, descriptors=False)
    first, second = net.decode(net.encode(as_tensor(0)), net.encode(as_tensor(1)))
    assert first.desc is None
    assert second.desc_conf is None
    assert not net.metric
    ratio = first.pts3d[0, ..., 2].numpy() / SCENE.views[0].depth
    assert ratio.std() < 1e-5
    assert abs(np.log(ratio.mean())) > 1e-3


def test_views_that_do_not_exist_are_refused() -> None:
    net = OracleNetwork(SCENE)
    with pytest.raises(NetworkOutputError, match="grey level 9 names no view"):
        net.decode(net.encode(as_tensor(9)), net.encode(as_tensor(0)))
    with pytest.raises(NetworkOutputError, match="rendered it at"):
        net.decode(net.encode(as_tensor(0, height=32)), net.encode(as_tensor(1)))
    with pytest.raises(ValueError, match="0 to 255"):
        grey_image(256, 8, 8)


def test_images_without_partner_have_no_canonical_view() -> None:
    assert [view is None for view in oracle_canonicals(SCENE, [(0, 2)], OracleNoise.none())] == [False, True, False, True]


def test_the_same_seed_gives_the_same_errors() -> None:
    a, b, other = (oracle_matches(SCENE, [(0, 1)], OracleNoise(), seed=s)[0] for s in (3, 3, 4))
    assert np.array_equal(a.xy_j, b.xy_j)
    assert not (len(a) == len(other) and np.array_equal(a.xy_j, other.xy_j))
