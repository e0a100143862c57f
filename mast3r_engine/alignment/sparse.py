"""Sparse global alignment: matches and canonical views in, cameras and depths out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mast3r_engine.alignment.canonical_view import CanonicalView
from mast3r_engine.alignment.known_views import correct_views, without_depths
from mast3r_engine.alignment.outcome import Outcome
from mast3r_engine.alignment.pair_points import lift_matches
from mast3r_engine.alignment.view_set import align_view_set
from mast3r_engine.correspondences import PairMatches
from mast3r_engine.options import AlignmentOptions
from mast3r_engine.reconstruction import Alignment
from mast3r_engine.view_priors import ViewPriors

PIXEL_STEPS = 30  # at most; it usually takes less than ten


def align_sparse(
    canonicals: Sequence[CanonicalView | None],
    matches: Sequence[PairMatches],
    options: AlignmentOptions,
    *,
    metric: bool,
    seed: int,
    priors: ViewPriors | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Alignment:
    """Align all photographs that matches tie together; nothing here fails on data.

    Pairs count when enough of their matches agree with one relative pose and they do not contradict the others around triplets.
    Photographs without such a pair are unregistered with a reason; groups that no pair connects are components of their own.
    """
    priors = priors or ViewPriors.none(len(canonicals))
    canonicals, refused = correct_views(canonicals, priors)
    outcome = Outcome(canonicals, [(m.i, m.j, len(m)) for m in matches])
    points = []
    for pair in matches:
        view_i, view_j = canonicals[pair.i], canonicals[pair.j]
        if pair.i == pair.j or view_i is None or view_j is None:
            outcome.drop(pair.i, pair.j, "nothing was predicted")
        else:
            points.append(lift_matches(view_i, view_j, pair))
    outcome.refuse_depths(refused)
    align_view_set(
        canonicals,
        points,
        options,
        outcome,
        seed=seed,
        pixel_steps=PIXEL_STEPS,
        priors=without_depths(priors, refused),
        metric=metric,
        on_progress=on_progress,
    )
    outcome.stats["metric"] = metric
    return outcome.finish()


def align_single(canonical: CanonicalView, priors: ViewPriors | None = None) -> Alignment:
    """One photograph alone: its own point map, the camera at the origin or where its pose prior has it."""
    priors = priors or ViewPriors.none(1)
    canonicals, refused = correct_views([canonical], priors)
    outcome = Outcome(canonicals, [])
    outcome.refuse_depths(refused)
    outcome.register_alone(0, priors)
    return outcome.finish()
