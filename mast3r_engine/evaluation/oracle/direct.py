"""The oracle's fast path: canonical views and matches without a network or a search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment import CanonicalAccumulator, CanonicalView, EdgePrediction, sample_edge
from mast3r_engine.correspondences import PairMatches
from mast3r_engine.evaluation.oracle.noise import OracleNoise
from mast3r_engine.evaluation.oracle.prediction import predict, predict_first
from mast3r_engine.evaluation.oracle.scene import OracleScene, OracleView, visible

Floats = NDArray[np.float64]
Pairs = Sequence[tuple[int, int]]


def complete_graph(views: int) -> list[tuple[int, int]]:
    """All unordered pairs."""
    return [(i, j) for i in range(views) for j in range(i + 1, views)]


def oracle_canonicals(
    scene: OracleScene, pairs: Pairs, noise: OracleNoise, *, seed: int = 0, subsample: int = 8
) -> list[CanonicalView | None]:
    """Accumulate the canonical view of every image over the partners it has in `pairs`; None without any."""
    canonicals: list[CanonicalView | None] = []
    for index, view in enumerate(scene.views):
        partners = sorted({i + j - index for i, j in pairs if index in (i, j)})
        accumulator = CanonicalAccumulator(view.height, view.width, subsample)
        for partner in partners:
            accumulator.add(*predict_first(scene, index, partner, noise, seed))
        canonicals.append(accumulator.finish() if partners else None)
    return canonicals


def oracle_matches(
    scene: OracleScene, pairs: Pairs, noise: OracleNoise, *, seed: int = 0, subsample: int = 8
) -> list[PairMatches]:
    """Matches of every pair: true ones with pixel noise, wide ones, outliers; rounded to integers."""
    return [_match_pair(scene, i, j, noise, seed, subsample) for i, j in pairs]


def oracle_edges(
    scene: OracleScene, pairs: Pairs, noise: OracleNoise, *, seed: int = 0, subsample: int = 8
) -> list[EdgePrediction]:
    """Both passes of every pair, sampled at the anchors, as dense alignment takes them."""
    edges = []
    for first, second in [(i, j) for i, j in pairs] + [(j, i) for i, j in pairs]:
        p = predict(scene, first, second, noise, seed)
        edges.append(sample_edge(first, second, p.pts_first, p.pts_second, p.conf_second, subsample))
    return edges


def wrong_matches(
    scene: OracleScene, i: int, j: int, *, shift: tuple[float, float, float] = (0.9, 0.0, 0.5), seed: int = 0, subsample: int = 8
) -> PairMatches:
    """Many matches that agree among themselves on a WRONG relative pose, as repeated structure gives them.

    A match pairs a point that i sees with what j sees at the place `shift` metres beside it, wherever a surface lies there.
    """
    rng = np.random.default_rng([seed, 401, i, j])
    xy_i = _jittered_grid(scene.views[i], rng, max(1, subsample // 2))
    world = scene.views[i].world_points()[xy_i[:, 1], xy_i[:, 0]] + np.array(shift)
    xy_j, seen = visible(scene.views[j], world, tolerance=0.05)
    return _sorted_unique(i, j, xy_i[seen], np.rint(xy_j[seen]).astype(np.int64), np.full(seen.sum(), 5.0))


def _match_pair(scene: OracleScene, i: int, j: int, noise: OracleNoise, seed: int, subsample: int) -> PairMatches:
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats]] = []
    for run in range(4):  # the symmetric extraction searches both ways in both decoder passes
        source, target = (i, j) if run % 2 == 0 else (j, i)
        rng = np.random.default_rng([seed, 402, source, target, run])
        here, there, conf = _match_one_way(scene.views[source], scene.views[target], noise, rng, subsample)
        found.append((here, there, conf) if run % 2 == 0 else (there, here, conf))
    xy_i, xy_j, conf = (np.concatenate(part) for part in zip(*found, strict=True))
    return _sorted_unique(i, j, xy_i, xy_j, conf)


def _match_one_way(
    source: OracleView, target: OracleView, noise: OracleNoise, rng: np.random.Generator, subsample: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:  # (M, 2), (M, 2), (M,)
    start = _jittered_grid(source, rng, subsample)
    exact, seen = visible(target, source.world_points()[start[:, 1], start[:, 0]])
    start, exact = start[seen], exact[seen]
    kind = rng.uniform(size=len(exact))
    sigma = noise.pixel * np.where(kind < noise.wide_fraction, 4.0, 1.0)
    noisy = exact + sigma[:, None] * rng.standard_normal(exact.shape)
    anywhere = rng.uniform(size=exact.shape) * [target.width - 1, target.height - 1]
    noisy = np.where((kind > 1 - noise.outlier_fraction)[:, None], anywhere, noisy)
    found = np.rint(noisy).astype(np.int64)
    error = np.linalg.norm(found - exact, axis=1)
    conf = 10.0 / (1.0 + error) * np.exp(noise.confidence * 2 * rng.standard_normal(len(error)))
    inside = (found >= 0).all(1) & (found[:, 0] < target.width) & (found[:, 1] < target.height)
    return start[inside], found[inside], conf[inside]


def _jittered_grid(view: OracleView, rng: np.random.Generator, step: int) -> NDArray[np.int64]:  # (M, 2)
    x, y = np.meshgrid(np.arange(step // 2, view.width, step), np.arange(step // 2, view.height, step))
    xy = np.stack([x.ravel(), y.ravel()], axis=1) + rng.integers(-(step // 2), step - step // 2, (x.size, 2))
    clipped: NDArray[np.int64] = np.clip(xy, 0, np.array([view.width - 1, view.height - 1]))
    return clipped


def _sorted_unique(i: int, j: int, xy_i: NDArray[np.int64], xy_j: NDArray[np.int64], conf: Floats) -> PairMatches:
    _, first = np.unique(np.concatenate([xy_i[:, ::-1], xy_j[:, ::-1]], axis=1), axis=0, return_index=True)
    return PairMatches(i, j, xy_i[first], xy_j[first], conf[first].astype(np.float32))
