"""Canonical views: one point map out of many, online."""

from __future__ import annotations

import numpy as np
import pytest

from mast3r_engine.alignment import CanonicalAccumulator, CanonicalView
from mast3r_engine.evaluation.oracle import OracleNoise, OracleView, make_scene
from mast3r_engine.evaluation.oracle.prediction import predict_first

VIEW = make_scene(1, 64, 96).views[0]


def accumulate(*predictions: tuple[np.ndarray, np.ndarray], subsample: int = 8) -> CanonicalView:
    height, width = predictions[0][1].shape
    accumulator = CanonicalAccumulator(height, width, subsample)
    for points, conf in predictions:
        accumulator.add(points, conf)
    return accumulator.finish()


def anchored_depth(view: CanonicalView) -> np.ndarray:
    """Depth of every pixel as the alignment rebuilds it: its anchor's depth times its offset."""
    rows = np.repeat(view.anchor_rows, view.subsample)[: view.height]
    columns = np.repeat(view.anchor_columns, view.subsample)[: view.width]
    return view.depth[np.ix_(rows, columns)] * view.offset


@pytest.mark.parametrize(("height", "width"), [(64, 96), (50, 37), (8, 8), (3, 5), (1, 1)])
def test_exact_predictions_come_back(height: int, width: int) -> None:
    view: OracleView = make_scene(1, height, width).views[0]
    canonical = accumulate((view.points(), np.full(view.depth.shape, 3.0)))
    np.testing.assert_allclose(canonical.points, view.points(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(canonical.conf, 3.0, rtol=1e-6)
    np.testing.assert_allclose(anchored_depth(canonical), view.depth, rtol=1e-4)
    if min(height, width) > 1:
        assert canonical.focal == pytest.approx(view.K[0, 0], rel=1e-4)
    assert canonical.principal_point == ((width - 1) / 2, (height - 1) / 2)


def test_order_of_the_predictions_does_not_matter() -> None:
    scene = make_scene(6, 64, 96)
    predictions = [predict_first(scene, 0, partner, OracleNoise(), 0) for partner in range(1, 6)]
    forward, backward = accumulate(*predictions), accumulate(*predictions[::-1])
    np.testing.assert_allclose(forward.points, backward.points, rtol=1e-5)
    np.testing.assert_allclose(forward.offset, backward.offset, rtol=1e-5)
    assert forward.focal == pytest.approx(backward.focal, rel=1e-9)


def test_scales_are_equalised_and_their_mean_is_kept() -> None:
    """Where confidences differ from pixel to pixel, a mean over unequal scales would bend the map."""
    left = np.where(np.arange(96) < 48, 9.0, 1.1) * np.ones((64, 1))
    canonical = accumulate((VIEW.points() * 0.5, left), (VIEW.points() * 2.0, left[:, ::-1]))
    np.testing.assert_allclose(canonical.points, VIEW.points(), rtol=1e-5, atol=1e-5)


def test_averaging_many_predictions_beats_one() -> None:
    scene = make_scene(9, 64, 96)
    predictions = [predict_first(scene, 0, partner, OracleNoise(scale=0.0, focal=0.0), 0) for partner in range(1, 9)]
    truth = np.log(scene.views[0].depth)
    one, many = (np.std(np.log(accumulate(*p).depth) - truth) for p in (predictions[:1], predictions))
    assert many < 0.9 * one


def test_bad_pixels_are_left_out() -> None:
    points, conf = VIEW.points().copy(), np.full(VIEW.depth.shape, 4.0)
    points[5, 5] = np.nan
    points[6, 6, 2] = -1.0
    points[7, 7] = np.inf
    broken_conf = conf.copy()
    broken_conf[8, 8] = np.nan
    canonical = accumulate((points, broken_conf), (VIEW.points(), conf))
    ratio = canonical.depth / VIEW.depth
    np.testing.assert_allclose(ratio, 1.0, rtol=2e-4)  # four pixels of 6144 less shift the pass' mean log-depth by so much
    np.testing.assert_allclose(ratio[5:9, 5:9], ratio[0, 0], rtol=1e-4)
    assert np.isfinite(canonical.offset).all()
    assert (canonical.offset > 0).all()


def test_unseen_pixels_get_a_depth_and_the_lowest_confidence() -> None:
    points = VIEW.points().copy()
    points[:10] = np.nan
    canonical = accumulate((points, np.full(VIEW.depth.shape, 4.0)))
    assert (canonical.conf[:10] == 1).all()
    assert (canonical.depth > 0).all()
    assert np.isfinite(canonical.points).all()


def test_nothing_usable_is_flat_and_without_confidence() -> None:
    canonical = accumulate((np.full((16, 16, 3), np.nan), np.full((16, 16), np.nan)))
    assert (canonical.conf == 1).all()
    assert (canonical.depth == 1).all()


def test_steep_edges_do_not_explode() -> None:
    """A far background beside its near anchor: the averaged angle alone would run off towards 90 degrees."""
    points = VIEW.points().copy()
    points[:, 50:] *= 400.0
    canonical = accumulate((points, np.full(VIEW.depth.shape, 4.0)), (points * 1.01, np.full(VIEW.depth.shape, 2.0)))
    np.testing.assert_allclose(anchored_depth(canonical), canonical.depth, rtol=0.02)
