"""The published optimiser, our baseline: it does what was published, and ours is better in a fraction of its time."""

from __future__ import annotations

import time

import numpy as np
import pytest

from mast3r_engine.alignment import align_sparse
from mast3r_engine.evaluation.oracle import OracleNoise, complete_graph, make_scene, oracle_canonicals, oracle_matches
from mast3r_engine.evaluation.oracle.prediction import predict_first
from mast3r_engine.evaluation.published_optimiser import optimise_as_published, published_canonical
from mast3r_engine.evaluation.published_optimiser.adam import _gamma_loss
from mast3r_engine.evaluation.published_optimiser.tree import kinematic_tree
from mast3r_engine.evaluation.trajectory import trajectory_errors
from mast3r_engine.options import AlignmentOptions


@pytest.mark.parametrize(("gamma", "b", "at_zero"), [(1.5, 4 / 9, 0.296296), (1.1, 0.3855433, 0.3504939), (0.5, 0.25, 0.5)])
def test_losses_have_the_published_constants(gamma: float, b: float, at_zero: float) -> None:
    import torch

    error = torch.tensor([0.0, 1e-4, 2.0], dtype=torch.float64)
    value = _gamma_loss(gamma)(error)
    assert value[0].item() == pytest.approx(0.0, abs=1e-12)
    assert value[1].item() / 1e-4 == pytest.approx(1.0, rel=1e-3)
    assert value[2].item() == pytest.approx((2.0 + b) ** gamma - at_zero, rel=1e-5)


def test_kinematic_tree_spans_all_images() -> None:
    score = np.zeros((5, 5))
    for a, b, n in ((0, 1, 900), (1, 2, 800), (2, 3, 700), (3, 4, 600)):
        score[a, b] = score[b, a] = n
    root, edges = kinematic_tree(score, np.full(5, 400))
    seen = {root}
    for parent, child in edges:
        assert parent in seen
        seen.add(child)
    assert seen == set(range(5))
    assert kinematic_tree(np.zeros((1, 1)), np.array([4])) == (0, [])


def test_published_canonical_view_of_exact_predictions() -> None:
    scene = make_scene(2, 64, 96)
    canonical = published_canonical([predict_first(scene, 0, 1, OracleNoise.none(), 0)])
    depth = np.repeat(np.repeat(canonical.anchor_depth.reshape(8, 12), 8, 0), 8, 1) * canonical.offset
    np.testing.assert_allclose(depth, scene.views[0].depth, rtol=1e-6)
    with pytest.raises(ValueError, match="multiples of 8"):
        published_canonical([(np.ones((60, 96, 3)), np.full((60, 96), 2.0))])


@pytest.mark.slow
def test_ours_is_twice_as_accurate_in_a_fraction_of_the_time() -> None:
    scene, pairs, noise = make_scene(5, arc_degrees=70), complete_graph(5), OracleNoise()
    matches = oracle_matches(scene, pairs, noise)
    truth = np.stack([view.cam2world for view in scene.views])
    predictions = [[predict_first(scene, i, j, noise, 0) for j in range(5) if j != i] for i in range(5)]
    published = [published_canonical(own) for own in predictions]
    canonicals = oracle_canonicals(scene, pairs, noise)
    began = time.process_time()
    theirs = optimise_as_published(published, matches)
    middle = time.process_time()
    ours = align_sparse(canonicals, matches, AlignmentOptions(), metric=True, seed=0)
    ended = time.process_time()
    their_error, our_error = (trajectory_errors(poses, truth) for poses in (theirs.cam2world, ours.cam2world))
    assert their_error.ate < 0.05, "the baseline must work for the comparison to mean anything"
    assert theirs.losses[-1] < 0.9 * theirs.losses[500]
    assert our_error.ate < 0.5 * their_error.ate
    assert our_error.rotation < 0.5 * their_error.rotation
    assert middle - began > 10 * (ended - middle)
