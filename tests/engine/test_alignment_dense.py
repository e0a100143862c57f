"""Dense alignment on the oracle: point maps of pairs instead of matches."""

from __future__ import annotations

import numpy as np

from mast3r_engine.alignment import align_dense
from mast3r_engine.alignment.dense import EdgePrediction
from mast3r_engine.evaluation.oracle import OracleNoise, complete_graph, make_scene, oracle_canonicals, oracle_edges
from mast3r_engine.evaluation.trajectory import trajectory_errors
from mast3r_engine.options import AlignmentOptions
from mast3r_engine.reconstruction import Alignment


def align(views: int, noise: OracleNoise, edges: list[EdgePrediction] | None = None) -> tuple[Alignment, np.ndarray]:
    scene, pairs = make_scene(views, 96, 128, arc_degrees=60), complete_graph(views)
    found = oracle_edges(scene, pairs, noise) if edges is None else edges
    result = align_dense(oracle_canonicals(scene, pairs, noise), found, AlignmentOptions(), metric=False, seed=0)
    return result, np.stack([view.cam2world for view in scene.views])


def test_exact_predictions_give_exact_cameras() -> None:
    result, truth = align(5, OracleNoise.none())
    errors = trajectory_errors(result.cam2world, truth)
    assert errors.registered == 5
    assert errors.ate < 1e-5
    assert errors.rotation < 1e-3
    assert all(pair.inliers == pair.matches for pair in result.pairs)


def test_noisy_predictions() -> None:
    result, truth = align(6, OracleNoise())
    errors = trajectory_errors(result.cam2world, truth)
    assert errors.registered == 6
    assert errors.ate < 0.03
    assert errors.rotation < 1.0


def test_passes_of_any_scale() -> None:
    """A network that is not metric gives every pass a scale of its own."""
    scene, pairs = make_scene(4, 96, 128, arc_degrees=60), complete_graph(4)
    rng = np.random.default_rng(0)
    edges = []
    for edge in oracle_edges(scene, pairs, OracleNoise.none()):
        scale = np.float32(np.exp(rng.normal()))
        edges.append(EdgePrediction(edge.first, edge.second, edge.pts_first * scale, edge.pts_second * scale, edge.conf_second))
    result, truth = align(4, OracleNoise.none(), edges)
    assert trajectory_errors(result.cam2world, truth).ate < 1e-4


def test_one_direction_is_enough() -> None:
    scene = make_scene(3, 96, 128, arc_degrees=60)
    edges = [edge for edge in oracle_edges(scene, complete_graph(3), OracleNoise.none()) if edge.first < edge.second]
    result, truth = align(3, OracleNoise.none(), edges)
    assert trajectory_errors(result.cam2world, truth).ate < 1e-5


def test_a_pair_whose_predictions_are_noise_is_dropped() -> None:
    scene = make_scene(4, 96, 128, arc_degrees=60)
    rng = np.random.default_rng(1)
    edges = []
    for edge in oracle_edges(scene, complete_graph(4), OracleNoise()):
        second = edge.pts_second
        if 3 in (edge.first, edge.second):
            second = second[rng.permutation(second.shape[0])][:, rng.permutation(second.shape[1])]
        edges.append(EdgePrediction(edge.first, edge.second, edge.pts_first, second, edge.conf_second))
    result, _ = align(4, OracleNoise(), edges)
    assert result.component.tolist() == [0, 0, 0, -1]
    assert result.unregistered[0][0] == 3


def test_predictions_that_are_not_finite() -> None:
    scene = make_scene(3, 96, 128, arc_degrees=60)
    edges = [
        EdgePrediction(e.first, e.second, e.pts_first, np.full_like(e.pts_second, np.nan), e.conf_second)
        if (e.first, e.second) == (0, 1)
        else e
        for e in oracle_edges(scene, complete_graph(3), OracleNoise.none())
    ]
    result, truth = align(3, OracleNoise.none(), edges)
    assert trajectory_errors(result.cam2world, truth).ate < 1e-5
