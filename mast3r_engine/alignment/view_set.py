"""From what ties the pairs to registered components: pairs that hold, groups that hang together, each aligned by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from mast3r_engine.alignment.canonical_view import CanonicalView
from mast3r_engine.alignment.component import align_component
from mast3r_engine.alignment.outcome import Outcome
from mast3r_engine.alignment.pair_geometry import PairGeometry, estimate_pair
from mast3r_engine.alignment.pair_points import PairPoints
from mast3r_engine.alignment.view_graph import components, split_contradicting
from mast3r_engine.options import AlignmentOptions
from mast3r_engine.view_priors import ViewPriors

PAIR_SHARE = 0.3  # of the whole stage's time


def align_view_set(
    canonicals: Sequence[CanonicalView | None],
    pairs: Sequence[PairPoints],  # both of whose images have a canonical view
    options: AlignmentOptions,
    outcome: Outcome,
    *,
    seed: int,
    pixel_steps: int,
    priors: ViewPriors,
    metric: bool,
    on_progress: Callable[[float], None] | None = None,
) -> None:
    """Enter every component, every dropped pair and the times into `outcome`."""
    report = on_progress or (lambda _: None)
    began = time.perf_counter()
    geometries = _estimate_pairs(canonicals, pairs, options, seed, outcome, report)
    kept, dropped = split_contradicting(geometries) if options.verify_pairs else (geometries, [])
    for pair in dropped:
        outcome.drop(pair.i, pair.j, "contradicts the other pairs")
    outcome.stats["seconds"] = {"pairs": time.perf_counter() - began}
    groups = components(len(canonicals), kept)
    for number, group in enumerate(groups):

        def report_group(done: float, number: int = number) -> None:
            report(PAIR_SHARE + (1 - PAIR_SHARE) * (number + done) / len(groups))

        _align_group(group, kept, canonicals, options, outcome, pixel_steps, priors, metric, seed, report_group)
    report(1.0)


def _estimate_pairs(
    canonicals: Sequence[CanonicalView | None],
    pairs: Sequence[PairPoints],
    options: AlignmentOptions,
    seed: int,
    outcome: Outcome,
    report: Callable[[float], None],
) -> list[PairGeometry]:
    found = []
    for count, points in enumerate(pairs):
        view_i, view_j = canonicals[points.i], canonicals[points.j]
        assert view_i is not None
        assert view_j is not None
        geometry = estimate_pair(view_i, view_j, points, min_inliers=options.min_inliers, seed=seed, verify=options.verify_pairs)
        if isinstance(geometry, str):
            outcome.drop(points.i, points.j, geometry)
        else:
            found.append(geometry)
        report(PAIR_SHARE * (count + 1) / len(pairs))
    return found


def _align_group(
    group: list[int],
    kept: Sequence[PairGeometry],
    canonicals: Sequence[CanonicalView | None],
    options: AlignmentOptions,
    outcome: Outcome,
    pixel_steps: int,
    priors: ViewPriors,
    metric: bool,
    seed: int,
    report: Callable[[float], None],
) -> None:
    local = {image: k for k, image in enumerate(group)}
    views = [view for view in (canonicals[image] for image in group) if view is not None]
    members = [pair for pair in kept if pair.i in local]
    result = align_component(
        views,
        [replace(pair, i=local[pair.i], j=local[pair.j]) for pair in members],
        shared_focal=options.shared_intrinsics,
        pixel_steps=pixel_steps,
        priors=priors.select(group),
        metric=metric,
        seed=seed,
        on_progress=report,
    )
    needed = options.min_inliers if options.verify_pairs else 0
    outcome.register(group, result, [(pair.i, pair.j) for pair in members], needed)
