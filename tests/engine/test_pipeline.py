"""From grey-coded photographs to files, through the oracle: the cameras are right and the files can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import jsonschema
import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData
from scipy.spatial import cKDTree

from mast3r_engine import AlignmentOptions, FusionOptions, NetworkOutputError, NoOverlapError, Options, build_network, reconstruct
from mast3r_engine.evaluation.oracle import OracleNetwork, OracleNoise, make_scene, render_view
from mast3r_engine.evaluation.trajectory import trajectory_errors
from mast3r_engine.export import load_poses_schema, write_artifacts
from mast3r_engine.reconstruction import Reconstruction
from tests.engine.standing_in import StandIn, exact_oracle, photos, true_poses, with_strange_view


@pytest.fixture(scope="module")
def exact() -> tuple[OracleNetwork, Reconstruction]:
    oracle = exact_oracle()
    return oracle, reconstruct(photos(oracle), oracle)


def test_exact_geometry_comes_back(exact: tuple[OracleNetwork, Reconstruction]) -> None:
    oracle, scene = exact
    assert scene.names == ["image_000", "image_001", "image_002", "image_003"]
    assert scene.component.tolist() == [0, 0, 0, 0]
    assert scene.unregistered == scene.warnings == []
    assert scene.metric
    np.testing.assert_allclose(scene.cam2world[0], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(scene.cam2world[:, :3, 3], true_poses(oracle)[:, :3, 3], atol=0.02)
    for k, view in enumerate(oracle.scene.views):
        np.testing.assert_allclose(scene.intrinsics[k], view.K, atol=0.005 * view.K[0, 0])
        assert np.median(np.abs(scene.depth[k] / view.depth - 1)) < 0.01
    assert np.median(_distance_to_surfaces(scene, oracle)) < 0.01
    # Matches are rounded to pixels: at the far wall, 0.3 px of 110 px focal length over 2 m of baseline are 3.5 cm.
    assert np.quantile(_distance_to_surfaces(scene, oracle), 0.95) < 0.05
    assert len(scene.points) > 0.9 * 4 * 96 * 128


def _distance_to_surfaces(scene: Reconstruction, oracle: OracleNetwork) -> np.ndarray:
    """From the cloud to the surfaces, sampled four times as densely as the photographs are."""
    first, dense = oracle.scene.views[0].cam2world, []
    for view in oracle.scene.views:
        sampled = render_view(oracle.scene.room, view.cam2world, 4 * view.K[0, 0], 4 * view.height, 4 * view.width)
        dense.append(sampled.world_points().reshape(-1, 3))
    world = scene.points @ first[:3, :3].T + first[:3, 3]
    distance, _ = cKDTree(np.concatenate(dense)).query(world[::5])
    return np.asarray(distance)


def test_statistics_tell_what_was_done(exact: tuple[OracleNetwork, Reconstruction]) -> None:
    _, scene = exact
    stats = scene.stats
    assert set(stats["seconds"]) == {"load", "encode", "pair", "decode", "match", "align", "fuse", "export"}
    assert all(seconds > 0 for seconds in stats["seconds"].values())
    assert (stats["images"], stats["registered"], stats["components"], stats["pairs"]) == (4, 4, 1, 6)
    assert stats["matches"] == sum(pair.matches for pair in scene.pairs) > 600
    assert stats["peak_rss_bytes"] > 1e8
    assert stats["scene_graph"].startswith("complete")


def test_the_files_can_be_read(exact: tuple[OracleNetwork, Reconstruction], tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d", exc_type=ImportError)
    _, scene = exact
    write_artifacts(scene, tmp_path)
    assert PlyData.read(tmp_path / "scene.ply")["vertex"].count == len(scene.points)
    assert len(open3d.io.read_point_cloud(str(tmp_path / "scene.ply")).points) == len(scene.points)
    document = json.loads((tmp_path / "poses.json").read_text())
    jsonschema.validate(document, load_poses_schema())
    assert [entry["name"] for entry in document["images"]] == scene.names
    assert Image.open(tmp_path / "preview.png").size == (1600, 800)


def test_the_same_input_gives_the_same_files(exact: tuple[OracleNetwork, Reconstruction], tmp_path: Path) -> None:
    oracle, scene = exact
    again = reconstruct(photos(oracle), oracle)
    assert write_artifacts(scene, tmp_path / "one") == write_artifacts(again, tmp_path / "two")


def test_the_order_of_photographs_does_not_matter(exact: tuple[OracleNetwork, Reconstruction]) -> None:
    oracle, scene = exact
    order = [2, 0, 3, 1]
    turned = reconstruct([photos(oracle)[k] for k in order], oracle)
    relative = np.linalg.inv(scene.cam2world[order[0]]) @ scene.cam2world[order]
    np.testing.assert_allclose(turned.cam2world, relative, atol=2e-3)
    np.testing.assert_allclose(turned.intrinsics, scene.intrinsics[order], rtol=2e-3)


def test_noisy_predictions_and_mixed_orientations() -> None:
    oracle = OracleNetwork(make_scene(sizes=[(96, 128), (128, 96), (96, 128), (128, 96)], arc_degrees=50), OracleNoise())
    scene = reconstruct(photos(oracle), oracle)
    errors = trajectory_errors(scene.cam2world, true_poses(oracle))
    assert (errors.registered, errors.ate < 0.03, errors.rotation < 0.6) == (4, True, True)
    assert [depth.shape for depth in scene.depth] == [(96, 128), (128, 96), (96, 128), (128, 96)]


@pytest.mark.parametrize("mode", ["auto", "dense"])
def test_a_network_without_descriptors_is_aligned_densely(mode: Literal["auto", "dense"]) -> None:
    oracle = OracleNetwork(exact_oracle(3).scene, OracleNoise.none(), descriptors=mode == "dense", metric=False)
    scene = reconstruct(photos(oracle), oracle, Options(alignment=AlignmentOptions(mode=mode)))
    errors = trajectory_errors(scene.cam2world, true_poses(oracle))
    assert (errors.registered, errors.ate < 0.02, errors.rotation < 0.3) == (3, True, True)
    assert not scene.metric


def test_sparse_alignment_needs_descriptors() -> None:
    oracle = OracleNetwork(exact_oracle(2).scene, OracleNoise.none(), descriptors=False)
    with pytest.raises(NetworkOutputError, match="no descriptors"):
        reconstruct(photos(oracle), oracle, Options(alignment=AlignmentOptions(mode="sparse")))


@pytest.mark.slow
def test_the_size_of_the_acceptance_scene() -> None:
    oracle = OracleNetwork(make_scene(4, 192, 256), OracleNoise())
    scene = reconstruct(photos(oracle), oracle)
    errors = trajectory_errors(scene.cam2world, true_poses(oracle))
    assert (errors.registered, errors.ate < 0.01, errors.rotation < 0.4) == (4, True, True)
    for k, view in enumerate(oracle.scene.views):
        assert scene.intrinsics[k][0, 0] == pytest.approx(view.K[0, 0], rel=0.02)


def test_intrinsics_are_those_of_the_original() -> None:
    oracle = exact_oracle(2)
    large = [np.kron(photo, np.ones((3, 3, 1), np.uint8)) for photo in photos(oracle)]
    scene = reconstruct(large, oracle, Options(image_size=128))
    assert (scene.geometry[0].original_width, scene.geometry[0].original_height) == (384, 288)
    expected = 3 * scene.network_intrinsics[0][0, 0]
    np.testing.assert_allclose(scene.intrinsics[0], [[expected, 0, 191.5], [0, expected, 143.5], [0, 0, 1]], atol=1e-6)


def test_two_components_have_frames_of_their_own() -> None:
    oracle = exact_oracle(5)
    scene = reconstruct(photos(oracle), oracle, Options(pairs=((0, 1), (2, 3), (3, 4))))
    assert scene.component.tolist() == [1, 1, 0, 0, 0]
    truth = true_poses(oracle)
    np.testing.assert_allclose(scene.cam2world[0], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(scene.cam2world[2], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(scene.cam2world[4], np.linalg.inv(truth[2]) @ truth[4], atol=0.05)
    assert set(np.unique(scene.point_component)) == {0, 1}
    assert any("2 components" in warning for warning in scene.warnings)


def test_a_photograph_without_overlap_is_unregistered() -> None:
    oracle = exact_oracle(4)
    scene = reconstruct(photos(oracle), with_strange_view(oracle, 3))
    assert scene.component.tolist() == [0, 0, 0, -1]
    ((index, name, reason),) = scene.unregistered
    assert (index, name) == (3, "image_003")
    assert reason
    assert np.isnan(scene.cam2world[3]).all()
    assert scene.depth[3].shape == (96, 128)
    assert np.isnan(scene.depth[3]).all()


def test_a_photograph_in_no_pair_is_unregistered() -> None:
    oracle = exact_oracle(3)
    scene = reconstruct(photos(oracle), oracle, Options(pairs=((0, 1),)))
    assert scene.component.tolist() == [0, 0, -1]
    assert scene.depth[2].shape == (96, 128)


def test_no_pair_that_holds_is_an_error() -> None:
    oracle = exact_oracle(2)
    with pytest.raises(NoOverlapError, match="no pair of the 2 photographs holds"):
        reconstruct(photos(oracle), with_strange_view(oracle, 1))


def test_one_photograph_gives_its_own_points() -> None:
    oracle = exact_oracle(1)
    net = StandIn(oracle)
    scene = reconstruct(photos(oracle), net)
    assert len(net.decoded) == 1
    np.testing.assert_array_equal(scene.cam2world, np.eye(4)[None])
    np.testing.assert_allclose(scene.depth[0], oracle.scene.views[0].depth, rtol=1e-4)
    assert scene.pairs == []
    assert len(scene.points) > 0.8 * scene.depth[0].size
    assert any("one photograph alone" in warning for warning in scene.warnings)


def test_options_reach_their_stages() -> None:
    oracle = exact_oracle(3)
    options = Options(scene_graph="oneref-1", fusion=FusionOptions(max_points=500), alignment=AlignmentOptions(mode="sparse"))
    scene = reconstruct(photos(oracle), oracle, options)
    assert [(pair.i, pair.j) for pair in scene.pairs] == [(0, 1), (1, 2)]
    assert 450 <= len(scene.points) <= 500


def test_an_untrained_network_does_no_harm() -> None:
    tiny = {"enc_embed_dim": 64, "enc_depth": 1, "enc_num_heads": 2, "dec_embed_dim": 64, "dec_depth": 3, "dec_num_heads": 2}
    mast3r = {"head_type": "catmlp+dpt", "output_mode": "pts3d+desc24", "feature_dim": 16, "layer_dims": (8, 8, 8, 8)}
    net = build_network({**tiny, **mast3r, "two_confs": True, "img_size": (64, 64)})
    noise = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    try:
        scene = reconstruct(list(noise), net)
    except NoOverlapError:
        return
    assert any("untrained" in warning for warning in scene.warnings)
    assert np.isfinite(scene.cam2world[scene.component >= 0]).all()
