"""The pose of a query against one reference: candidates, refinement, covariance, and whether to trust it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.localisation.agreement import Agreement, judge_directions, judge_pose
from mast3r_engine.localisation.candidates import FROM_MAPS, Candidate, distinct_candidates, find_candidates
from mast3r_engine.localisation.covariance import pose_covariance
from mast3r_engine.localisation.observation import PairObservation
from mast3r_engine.localisation.planarity import refuse_plane
from mast3r_engine.localisation.pose_model import PoseModel, build_model
from mast3r_engine.localisation.refine import Refined, refine_pose
from mast3r_engine.localisation.trust import (
    Refusal,
    median_parallax,
    refuse_contradiction,
    refuse_matches,
    refuse_other_pose,
    refuse_parallax,
    refuse_uncertainty,
)
from mast3r_engine.options import LocalizeOptions

Floats = NDArray[np.float64]

DEPTH_ROOM_AFTER = 0.03  # relative depth error of an inlier once the smooth errors are taken out
MOST_STARTS = 3  # candidates that are refined, where they differ; with bad depths the best score before refinement misleads
MOST_MATCHES = 2_000  # that solvers and refinement look at; more cost time and gain little, since neighbours err together


@dataclass(frozen=True)
class PairPose:
    """A query's pose against one reference. Pose and covariance are NaN when there is no estimate at all."""

    query2reference: Floats  # (4, 4)
    covariance: Floats  # (6, 6) left perturbation: translation, rotation vector, in the reference's frame
    matches: int
    inliers: int
    reprojection: float  # network pixels of the query, root mean square over the inliers
    parallax: float  # degrees, median over the inliers
    method: str  # which candidate it grew from
    refusal: Refusal | None


def estimate_pair_pose(
    pair: PairObservation,
    focal_sigmas: tuple[float, float],  # relative standard deviations: reference, query
    options: LocalizeOptions,
    metric: bool = True,
) -> PairPose:
    """Estimate, refine and judge the pose query -> reference."""
    candidates = find_candidates(pair.take(_thin(np.ones(len(pair), bool))), options.inlier_pixels, options.seed)
    if not candidates:
        return _nothing(len(pair), refuse_matches(len(pair), 0, options) or ("no_overlap", "no candidate pose could be computed"))
    grown = [
        found
        for candidate in distinct_candidates(candidates, MOST_STARTS)
        if (found := _grow(pair, candidate, focal_sigmas, options)) is not None
    ]
    if not grown:
        few = int(judge_pose(pair, candidates[0].pose, options.inlier_pixels).gate.sum())
        return _nothing(len(pair), refuse_matches(len(pair), few, options) or ("too_few_inliers", f"{few} inliers"))
    best = max(grown, key=lambda found: found.agreement.score)
    refined, agreement = best.refined, best.agreement
    pose, covariance = refined.state.pose, pose_covariance(refined)
    inliers = agreement.inliers
    kept = pair.take(inliers)
    parallax = median_parallax(kept, pose)
    depth = float(np.median(kept.depth_reference)) if len(kept) else float("nan")
    refusal = (
        refuse_matches(len(pair), int(inliers.sum()), options)
        or refuse_other_pose(pose, [other.pose for other in candidates if other.method in FROM_MAPS], depth)
        or refuse_contradiction(refined.log_scale_gap, agreement.one_sided, metric)
        or refuse_parallax(parallax, options)
        or refuse_plane(refined, options.inlier_pixels, options.seed)
        or refuse_uncertainty(covariance, depth, options)
    )
    reprojection = _reprojection(build_model(kept), refined)
    return PairPose(pose, covariance, len(pair), int(inliers.sum()), reprojection, parallax, best.candidate.method, refusal)


@dataclass(frozen=True)
class _Grown:
    """A candidate, refined, and how well all matches agree with it then."""

    candidate: Candidate
    refined: Refined
    agreement: Agreement


def _grow(
    pair: PairObservation, candidate: Candidate, focal_sigmas: tuple[float, float], options: LocalizeOptions
) -> _Grown | None:
    gate = judge_pose(pair, candidate.pose, options.inlier_pixels).gate
    if gate.sum() < options.min_inliers:
        return None
    return _Grown(candidate, *_refine(pair, candidate.pose, gate, focal_sigmas, options))


def _refine(
    pair: PairObservation,
    pose: Floats,
    gate: NDArray[np.bool_],
    focal_sigmas: tuple[float, float],
    options: LocalizeOptions,
) -> tuple[Refined, Agreement]:
    """Refine, look again which matches are near, and refine once more when many changed sides."""
    whole = build_model(pair)
    for _ in range(3):
        refined = refine_pose(pair.take(_thin(gate)), pose, focal_sigmas)
        agreement = judge_directions(whole.directions(refined.state), options.inlier_pixels, DEPTH_ROOM_AFTER)
        changed, gate, pose = (agreement.gate != gate).sum() / max(int(gate.sum()), 1), agreement.gate, refined.state.pose
        if changed < 0.1 or gate.sum() < options.min_inliers:
            break
    return refined, agreement


def _thin(gate: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """At most MOST_MATCHES of the kept ones, evenly over their sorted order (rows of the reference)."""
    kept = np.flatnonzero(gate)
    if len(kept) <= MOST_MATCHES:
        return gate
    thinned = np.zeros_like(gate)
    thinned[kept[np.linspace(0, len(kept) - 1, MOST_MATCHES).astype(np.int64)]] = True
    return thinned


def _reprojection(model: PoseModel, refined: Refined) -> float:
    if len(model.pair) == 0:
        return float("nan")
    residual = model.directions(refined.state)[0].residual
    return float(np.sqrt((residual**2).sum(axis=1).mean()))


def _nothing(matches: int, refusal: Refusal) -> PairPose:
    nan = float("nan")
    return PairPose(np.full((4, 4), nan), np.full((6, 6), nan), matches, 0, nan, nan, "none", refusal)
