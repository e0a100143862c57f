"""Bundle adjustment of an alignment: better cameras on painted oracle scenes, priors held, and what must not be touched."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mast3r_engine import Options, OptionsError, reconstruct
from mast3r_engine.alignment import align_sparse
from mast3r_engine.bundle import Held, refine_by_bundle
from mast3r_engine.bundle.depths import corrected_depth
from mast3r_engine.correspondences import PairMatches
from mast3r_engine.evaluation.oracle import (
    OracleNoise,
    OracleScene,
    complete_graph,
    make_scene,
    oracle_canonicals,
    oracle_matches,
    painted_photo,
)
from mast3r_engine.evaluation.trajectory import trajectory_errors
from mast3r_engine.options import AlignmentOptions
from mast3r_engine.reconstruction import Alignment
from mast3r_engine.tracks import Cameras, Observations, find_tracks, join_tracks
from tests.engine.standing_in import exact_oracle, photos

Aligned = tuple[OracleScene, Alignment, list[PairMatches], list[NDArray[np.uint8]]]


@pytest.fixture(scope="module")
def aligned() -> Aligned:
    scene, noise = make_scene(5, 144, 192, seed=0), OracleNoise()
    pairs = complete_graph(len(scene))
    matches = oracle_matches(scene, pairs, noise, seed=0)
    alignment = align_sparse(oracle_canonicals(scene, pairs, noise, seed=0), matches, AlignmentOptions(), metric=True, seed=0)
    return scene, alignment, matches, [painted_photo(view) for view in scene.views]


@pytest.fixture(scope="module")
def refined(aligned: Aligned) -> Alignment:
    _, alignment, matches, pixels = aligned
    result, reason = refine_by_bundle(alignment, matches, pixels)
    assert reason is None
    return result


def true_poses(scene: OracleScene) -> NDArray[np.float64]:
    return np.stack([view.cam2world for view in scene.views])


def depth_error(scene: OracleScene, alignment: Alignment) -> float:
    """Once the scale is right, which bundle adjustment does not touch."""
    scale = trajectory_errors(alignment.cam2world, true_poses(scene)).scale
    each = [np.nanmedian(np.abs(scale * d / v.depth - 1)) for d, v in zip(alignment.depth, scene.views, strict=True)]
    return float(np.mean(each))


def test_cameras_and_depths_get_better(aligned: Aligned, refined: Alignment) -> None:
    scene, alignment, _, _ = aligned
    before, after = (trajectory_errors(a.cam2world, true_poses(scene)) for a in (alignment, refined))
    assert after.ate < 0.8 * before.ate
    focal = [
        np.abs([a.intrinsics[i, 0, 0] / v.K[0, 0] - 1 for i, v in enumerate(scene.views)]).mean() for a in (alignment, refined)
    ]
    assert focal[1] < focal[0]
    assert depth_error(scene, refined) < depth_error(scene, alignment)
    stats = refined.stats["bundle"]
    assert stats["error_after_px"] < stats["error_before_px"] < 0.2
    assert stats["observations"] > 2.5 * stats["tracks"]


def test_frame_and_scale_stay(aligned: Aligned, refined: Alignment) -> None:
    _, alignment, _, _ = aligned
    np.testing.assert_allclose(refined.cam2world[0], np.eye(4), atol=1e-12)
    ratio = [np.nanmedian(after / before) for after, before in zip(refined.depth, alignment.depth, strict=True)]
    np.testing.assert_allclose(ratio, 1.0, atol=0.01)
    np.testing.assert_array_equal(refined.component, alignment.component)


def test_tracks_are_found_below_the_pixel(aligned: Aligned) -> None:
    scene, alignment, matches, pixels = aligned
    cameras = Cameras(alignment.intrinsics, alignment.cam2world)
    seen, points = join_tracks(matches, cameras, alignment.component, alignment.depth)
    found, left = find_tracks(seen, points, cameras, alignment.depth, pixels)
    truth = Cameras(np.stack([view.K for view in scene.views]), true_poses(scene))
    first = found.starts
    lender = _lenders(found.xy, found.track, first)
    x, y = np.rint(found.xy[lender]).astype(int).T
    depth = np.array([scene.views[i].depth[v, u] for i, v, u in zip(found.image[lender], y, x, strict=True)])
    world = truth.lift(found.image[lender], found.xy[lender], depth)
    off = np.linalg.norm(truth.project(found.image, world[found.track]) - found.xy, axis=1)
    others = ~np.isin(np.arange(len(off)), lender)
    whole = np.linalg.norm(truth.project(seen.image, _true_points(seen, truth, scene)[seen.track]) - seen.xy, axis=1)
    assert np.median(off[others]) < 0.5 * np.median(whole[whole > 0])
    assert len(left) == len(first)


def _true_points(seen: Observations, truth: Cameras, scene: OracleScene) -> NDArray[np.float64]:
    """What the first observation of each track really shows."""
    image, xy = seen.image[seen.starts], seen.xy[seen.starts]
    x, y = xy.astype(int).T
    return truth.lift(image, xy, np.array([scene.views[i].depth[v, u] for i, v, u in zip(image, y, x, strict=True)]))


def _lenders(xy: NDArray[np.float64], track: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """The observation of each track that stands on a whole pixel."""
    whole = (np.abs(xy - np.rint(xy)) < 1e-9).all(axis=1)
    order = np.lexsort((~whole, track))
    return order[first]


def test_what_priors_fix_is_held(aligned: Aligned) -> None:
    scene, alignment, matches, pixels = aligned
    n = len(scene)
    held = Held(np.zeros(n, np.int64), np.ones(n, bool), np.isin(np.arange(n), [0, 2]))
    given = replace(alignment, intrinsics=np.repeat(alignment.intrinsics[:1], n, axis=0))
    result, reason = refine_by_bundle(given, matches, pixels, held)
    assert reason is None
    np.testing.assert_array_equal(result.intrinsics, given.intrinsics)
    np.testing.assert_allclose(result.cam2world[[0, 2]], given.cam2world[[0, 2]], atol=1e-12)
    assert not np.allclose(result.cam2world[1], given.cam2world[1], atol=1e-6)


def test_shared_cameras_keep_one_focal_length(aligned: Aligned) -> None:
    _, alignment, matches, pixels = aligned
    n = len(alignment.component)
    free = np.zeros(n, bool)
    given = replace(alignment, intrinsics=np.repeat(alignment.intrinsics[:1], n, axis=0))
    result, _ = refine_by_bundle(given, matches, pixels, Held(np.zeros(n, np.int64), free, free))
    assert np.ptp(result.intrinsics[:, 0, 0]) == 0
    assert result.intrinsics[0, 0, 0] != given.intrinsics[0, 0, 0]


def test_two_photographs_are_left_as_they_were(aligned: Aligned) -> None:
    _, alignment, matches, pixels = aligned
    two = replace(alignment, component=np.where(np.arange(len(alignment.component)) < 2, 0, -1))
    result, reason = refine_by_bundle(two, matches, pixels)
    assert result is two
    assert reason == "2 photographs; bundle adjustment needs 3"


def test_photographs_without_a_pattern_are_left_as_they_were(aligned: Aligned) -> None:
    _, alignment, matches, pixels = aligned
    result, reason = refine_by_bundle(alignment, matches, [np.full_like(image, 127) for image in pixels])
    assert result is alignment
    assert reason == "0 tracks look alike in two photographs; bundle adjustment needs 50"


def test_a_smooth_depth_error_is_taken_back_and_wild_points_are_not_followed() -> None:
    rng = np.random.default_rng(0)
    true = np.full((60, 80), 4.0) + np.linspace(0, 1, 80)
    wrong = (true * np.exp(0.05 + 0.03 * np.linspace(-1, 1, 60)[:, None])).astype(np.float32)
    xy = np.stack([rng.integers(0, 80, 400), rng.integers(0, 60, 400)], axis=1).astype(np.float64)
    x, y = xy.astype(int).T
    z = true[y, x]
    z[::10] *= 3
    corrected, size = corrected_depth(wrong, xy, z)
    assert np.abs(corrected / true - 1).max() < 0.01
    assert 0.03 < size < 0.08
    unchanged, none = corrected_depth(wrong, xy[:0], z[:0])
    assert unchanged is wrong
    assert none == 0.0


def test_the_option_goes_through_the_pipeline_and_says_what_it_did() -> None:
    oracle = exact_oracle(views=3)
    scene = reconstruct(photos(oracle), oracle, Options(refine="bundle"))  # grey photographs: nothing to hold on to
    assert "tracks look alike" in scene.stats["alignment"]["bundle"]["left_out"]
    assert any(warning.startswith("the cameras are those of the alignment: 0 tracks") for warning in scene.warnings)
    dense = reconstruct(photos(oracle), oracle, Options.from_dict({"refine": "bundle", "alignment": {"mode": "dense"}}))
    assert "needs matches" in dense.stats["alignment"]["bundle"]["left_out"]


def test_without_pycolmap_it_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    oracle = exact_oracle(views=2)
    with pytest.raises(OptionsError, match=r"refine 'bundle' needs pycolmap .*pip install pycolmap"):
        reconstruct(photos(oracle), oracle, Options(refine="bundle"))
    left_as_it_was = reconstruct(photos(oracle), oracle, Options())
    assert left_as_it_was.stats["alignment"]["bundle"]["asked_for"] is False
    assert left_as_it_was.warnings == []
    with pytest.raises(OptionsError, match="option refine is 'ba'; it must be auto, none or bundle"):
        Options.from_dict({"refine": "ba"})
