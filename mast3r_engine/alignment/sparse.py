"""Sparse global alignment: matches and canonical views in, cameras and depths out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mast3r_engine.alignment.canonical_view import CanonicalView
from mast3r_engine.alignment.outcome import Outcome
from mast3r_engine.alignment.pair_points import lift_matches
from mast3r_engine.alignment.view_set import align_view_set
from mast3r_engine.correspondences import PairMatches
from mast3r_engine.options import AlignmentOptions
from mast3r_engine.reconstruction import Alignment

PIXEL_STEPS = 30  # at most; it usually takes less than ten


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
    outcome = Outcome(canonicals, [(m.i, m.j, len(m)) for m in matches])
    points = []
    for pair in matches:
        view_i, view_j = canonicals[pair.i], canonicals[pair.j]
        if pair.i == pair.j or view_i is None or view_j is None:
            outcome.drop(pair.i, pair.j, "nothing was predicted")
        else:
            points.append(lift_matches(view_i, view_j, pair))
    align_view_set(canonicals, points, options, outcome, seed=seed, pixel_steps=PIXEL_STEPS, on_progress=on_progress)
    outcome.stats["metric"] = metric
    return outcome.finish()


def align_single(canonical: CanonicalView) -> Alignment:
    """One photograph alone: its own point map, the camera at the origin."""
    outcome = Outcome([canonical], [])
    outcome.register_alone(0)
    return outcome.finish()
