"""Dense global alignment, for networks without descriptors: the pairs' own point maps take the place of matches.

A pass (a, b) says where every pixel of b lies in the frame of a. That is a point known in two frames (the relative similarity of
the pair follows in closed form) and, projected, the place in image a where the pixel of b must be seen: a one-way match. From
there the same initialisation and the same 3D stage as with matches apply. The 2D stage does not: these are no measurements in the
image, and their errors are common to all points of a pass (on the oracle it made the poses worse by half).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.canonical_view import CONF_OFFSET, CanonicalView, anchor_positions
from mast3r_engine.alignment.known_views import correct_views, without_depths
from mast3r_engine.alignment.outcome import Outcome
from mast3r_engine.alignment.pair_points import MOST_TRUST, PairPoints
from mast3r_engine.alignment.view_set import align_view_set
from mast3r_engine.options import AlignmentOptions
from mast3r_engine.reconstruction import Alignment
from mast3r_engine.view_priors import ViewPriors

Floats = NDArray[np.float64]

MARGIN = 0.25  # of the image's size: points that fall further outside say little


@dataclass(frozen=True)
class EdgePrediction:
    """One ordered pass (first, second), kept at the anchors alone; all points in the frame of `first`."""

    first: int
    second: int
    pts_first: NDArray[np.float32]  # (h1, w1, 3)
    pts_second: NDArray[np.float32]  # (h2, w2, 3)
    conf_second: NDArray[np.float32]  # (h2, w2)


def sample_edge(
    first: int,
    second: int,
    pts_first: NDArray[np.floating],  # (H1, W1, 3)
    pts_second: NDArray[np.floating],  # (H2, W2, 3) in the frame of `first`
    conf_second: NDArray[np.floating],  # (H2, W2)
    subsample: int,
) -> EdgePrediction:
    """Keep what dense alignment needs of a pass: memory shrinks by the square of `subsample`."""
    at_first, at_second = (sampled_pixels(points.shape[0], points.shape[1], subsample) for points in (pts_first, pts_second))
    return EdgePrediction(
        first,
        second,
        np.asarray(pts_first[at_first], np.float32),
        np.asarray(pts_second[at_second], np.float32),
        np.asarray(conf_second[at_second], np.float32),
    )


def align_dense(
    canonicals: Sequence[CanonicalView | None],
    edges: Sequence[EdgePrediction],  # one or both directions of every pair
    options: AlignmentOptions,
    *,
    metric: bool,
    seed: int,
    priors: ViewPriors | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Alignment:
    """Align all photographs whose pairs' predictions agree with one relative pose; otherwise as `align_sparse`."""
    priors = priors or ViewPriors.none(len(canonicals))
    canonicals, refused = correct_views(canonicals, priors)
    gathered: dict[tuple[int, int], list[PairPoints]] = {}
    for edge in edges:
        pair = (min(edge.first, edge.second), max(edge.first, edge.second))
        here, there = canonicals[edge.first], canonicals[edge.second]
        found = gathered.setdefault(pair, [])
        if edge.first != edge.second and here is not None and there is not None:
            found.append(_edge_points(edge, here, there))
    points = [_join(parts) for _, parts in sorted(gathered.items()) if parts]
    counts = {(p.i, p.j): len(p) for p in points}
    outcome = Outcome(canonicals, [(i, j, counts.get((i, j), 0)) for i, j in sorted(gathered)])
    for i, j in gathered:
        if (i, j) not in counts:
            outcome.drop(i, j, "nothing was predicted")
    outcome.refuse_depths(refused)
    align_view_set(
        canonicals,
        points,
        options,
        outcome,
        seed=seed,
        pixel_steps=0,
        priors=without_depths(priors, refused),
        metric=metric,
        on_progress=on_progress,
    )
    outcome.stats["metric"] = metric
    return outcome.finish()


def sampled_pixels(height: int, width: int, subsample: int) -> tuple[NDArray[np.int64], ...]:
    """Index of the pixels that `sample_edge` keeps of an image."""
    return np.ix_(anchor_positions(height, subsample), anchor_positions(width, subsample))


def _edge_points(edge: EdgePrediction, first: CanonicalView, second: CanonicalView) -> PairPoints:
    """Points of the second image's anchors, in both frames; i < j."""
    grid = np.ix_(second.anchor_rows, second.anchor_columns)
    own = second.points[grid].reshape(-1, 3).astype(np.float64)
    seen = edge.pts_second.reshape(-1, 3).astype(np.float64) * _scale_to_canonical(edge, first)
    front = np.isfinite(seen).all(1) & (seen[:, 2] > 1e-6)
    xy_first = seen[:, :2] / np.where(front, seen[:, 2], 1.0)[:, None] * first.focal + np.array(first.principal_point)
    size = np.array([first.width, first.height])
    usable = front & (xy_first > -MARGIN * size).all(1) & (xy_first < (1 + MARGIN) * size).all(1)
    columns, rows = np.meshgrid(second.anchor_columns, second.anchor_rows)
    xy_second = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64)
    conf = np.nan_to_num(edge.conf_second.ravel().astype(np.float64))
    yes, no = np.ones(int(usable.sum()), bool), np.zeros(int(usable.sum()), bool)
    sides = [(edge.first, xy_first[usable], seen[usable], no), (edge.second, xy_second[usable], own[usable], yes)]
    (i, xy_i, points_i, forward), (j, xy_j, points_j, backward) = sides if edge.first < edge.second else sides[::-1]
    trust = np.clip(conf[usable] - CONF_OFFSET, 1e-3, MOST_TRUST)
    return PairPoints(i, j, xy_i, xy_j, points_i, points_j, conf[usable], trust, forward, backward)


def _scale_to_canonical(edge: EdgePrediction, first: CanonicalView) -> float:
    """How much larger the canonical view of the first image is than this pass."""
    canonical = first.depth[np.ix_(first.anchor_rows, first.anchor_columns)].astype(np.float64)
    depth = edge.pts_first[..., 2].astype(np.float64)
    usable = np.isfinite(depth) & (depth > 1e-9)
    return float(np.exp(np.median(np.log(canonical[usable] / depth[usable])))) if usable.any() else 1.0


def _join(parts: Sequence[PairPoints]) -> PairPoints:
    names = ("xy_i", "xy_j", "points_i", "points_j", "conf", "trust", "forward", "backward")
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
    return PairPoints(parts[0].i, parts[0].j, *columns)
