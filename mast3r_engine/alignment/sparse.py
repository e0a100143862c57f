"""Sparse global alignment: matches and canonical views in, cameras and depths out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from mast3r_engine.alignment.canonical_view import CanonicalView
from mast3r_engine.alignment.component import align_component
from mast3r_engine.alignment.outcome import Outcome
from mast3r_engine.alignment.pair_geometry import PairGeometry, estimate_pair
from mast3r_engine.alignment.view_graph import components, split_contradicting
from mast3r_engine.correspondences import PairMatches
from mast3r_engine.options import AlignmentOptions
from mast3r_engine.reconstruction import Alignment

PAIR_SHARE = 0.3  # of the whole stage's time


def align_sparse(
    canonicals: Sequence[CanonicalView | None],
    matches: Sequence[PairMatches],
    options: AlignmentOptions,
    *,
    metric: bool,
    seed: int,
    on_progress: Callable[[float], None] | None = None,
) -> Alignment:
    """Align all photographs that matches tie together; nothing here fails on data.

    Pairs count when enough of their matches agree with one relative pose and they do not contradict the others around triplets.
    Photographs without such a pair are unregistered with a reason; groups that no pair connects are components of their own.
    """
    began = time.perf_counter()
    outcome = Outcome(canonicals, matches)
    geometries = _estimate_pairs(canonicals, matches, options, seed, outcome, on_progress)
    kept, dropped = split_contradicting(geometries)
    for pair in dropped:
        outcome.drop(pair.i, pair.j, "contradicts the other pairs")
    outcome.stats["seconds"] = {"pairs": time.perf_counter() - began}
    groups = components(len(canonicals), kept)
    for number, group in enumerate(groups):

        def report(done: float, number: int = number) -> None:
            if on_progress is not None:
                on_progress(PAIR_SHARE + (1 - PAIR_SHARE) * (number + done) / len(groups))

        _align_group(group, kept, canonicals, matches, options, outcome, report)
    outcome.stats["metric"] = metric
    if on_progress is not None:
        on_progress(1.0)
    return outcome.finish()


def _estimate_pairs(
    canonicals: Sequence[CanonicalView | None],
    matches: Sequence[PairMatches],
    options: AlignmentOptions,
    seed: int,
    outcome: Outcome,
    on_progress: Callable[[float], None] | None,
) -> list[PairGeometry]:
    found = []
    for count, pair in enumerate(matches):
        view_i, view_j = canonicals[pair.i], canonicals[pair.j]
        if pair.i == pair.j or view_i is None or view_j is None:
            outcome.drop(pair.i, pair.j, "nothing was predicted")
            continue
        geometry = estimate_pair(view_i, view_j, pair, min_inliers=options.min_inliers, seed=seed)
        if isinstance(geometry, str):
            outcome.drop(pair.i, pair.j, geometry)
        else:
            found.append(geometry)
        if on_progress is not None:
            on_progress(PAIR_SHARE * (count + 1) / len(matches))
    return found


def _align_group(
    group: list[int],
    kept: Sequence[PairGeometry],
    canonicals: Sequence[CanonicalView | None],
    matches: Sequence[PairMatches],
    options: AlignmentOptions,
    outcome: Outcome,
    on_progress: Callable[[float], None],
) -> None:
    local = {image: k for k, image in enumerate(group)}
    views = [view for view in (canonicals[image] for image in group) if view is not None]
    members = [pair for pair in kept if pair.i in local]
    by_pair = {(m.i, m.j): m for m in matches}
    result = align_component(
        views,
        [replace(pair, i=local[pair.i], j=local[pair.j]) for pair in members],
        [by_pair[pair.i, pair.j] for pair in members],
        shared_focal=options.shared_intrinsics,
        on_progress=on_progress,
    )
    outcome.register(group, result, [(pair.i, pair.j) for pair in members], options.min_inliers)


def align_single(canonical: CanonicalView) -> Alignment:
    """One photograph alone: its own point map, the camera at the origin."""
    outcome = Outcome([canonical], [])
    outcome.register_alone(0)
    return outcome.finish()
