"""Candidate poses by independent ways: essential matrix with metric scale, perspective poses of point maps, rigid alignment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.similarity import fit_similarities, split_similarity
from mast3r_engine.evaluation.trajectory import rotation_angle
from mast3r_engine.localisation.agreement import judge_pose
from mast3r_engine.localisation.minimal_solvers import solve_absolute_pose, solve_relative_pose
from mast3r_engine.localisation.observation import PairObservation, PointMapSamples
from mast3r_engine.localisation.rigid_motion import invert, rigid

Floats = NDArray[np.float64]

FROM_MAPS = ("query_maps_aligned", "reference_maps_aligned")  # rest on the network's point maps alone, not on matches
SAME_BASIN = 6.0  # degrees; starts nearer to each other are refined to the same pose
WORTH = 0.2  # of the best score; candidates below it are not refined
ROUNDS = 8  # of iteratively reweighted least squares


@dataclass(frozen=True)
class Candidate:
    """A pose, the way it came about, and how well the matches agree with it."""

    method: str
    pose: Floats  # (4, 4) query2reference
    score: float


def find_candidates(
    pair: PairObservation,
    inlier_pixels: float,
    seed: int,
) -> list[Candidate]:
    """Every candidate that could be computed, the one that most matches agree with first."""
    reference, query = pair.samples_reference, pair.samples_query
    tolerance = inlier_pixels
    in_query = pair.K_query, pair.size_query, tolerance, seed
    in_reference = pair.K_reference, pair.size_reference, tolerance, seed
    poses = {
        "essential": _essential_with_scale(pair, tolerance, seed),
        "points_of_reference": solve_absolute_pose(pair.xy_query, pair.points_reference(), pair.conf, *in_query),
        "points_of_query": _flip(solve_absolute_pose(pair.xy_reference, pair.points_query(), pair.conf, *in_reference)),
        "query_map_in_reference": solve_absolute_pose(query.xy, query.in_partner, query.weight, *in_query),
        "reference_map_in_query": _flip(solve_absolute_pose(reference.xy, reference.in_partner, reference.weight, *in_reference)),
        "query_maps_aligned": align_maps(query),
        "reference_maps_aligned": _flip(align_maps(reference)),
    }
    candidates = [
        Candidate(method, pose, judge_pose(pair, pose, inlier_pixels).score)
        for method, pose in poses.items()
        if pose is not None and np.isfinite(pose).all()
    ]
    return sorted(candidates, key=lambda candidate: -candidate.score)


def distinct_candidates(
    candidates: list[Candidate],  # best first
    count: int,
) -> list[Candidate]:
    """The best candidates that differ from each other by more than refinement makes good."""
    distinct: list[Candidate] = []
    for candidate in candidates:
        turns = [float(rotation_angle(candidate.pose[:3, :3], other.pose[:3, :3])) for other in distinct]
        if candidate.score > WORTH * candidates[0].score and all(turn > SAME_BASIN for turn in turns):
            distinct.append(candidate)
    return distinct[:count]


def metric_translation(
    pair: PairObservation,
    pose: Floats,  # (4, 4) query2reference, length of the translation unknown
    keep: NDArray[np.bool_],  # (M,)
) -> Floats | None:  # (4, 4)
    """Give a translation its length: the weighted median of what each match's two depths say along it."""
    direction = pose[:3, 3] / max(float(np.linalg.norm(pose[:3, 3])), 1e-12)
    lengths = (pair.points_reference()[keep] - pair.points_query()[keep] @ pose[:3, :3].T) @ direction
    if len(lengths) == 0:
        return None
    return rigid(pose[:3, :3], weighted_median(lengths, pair.conf[keep]) * direction)


def weighted_median(
    values: Floats,  # (M,)
    weights: Floats,  # (M,) >= 0
) -> float:
    """The value at which half of the weight is reached."""
    order = np.argsort(values)
    total = np.cumsum(np.maximum(weights[order], 1e-12))
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])


def align_maps(samples: PointMapSamples) -> Floats | None:  # (4, 4) from the view's own frame to the partner's
    """Robust rigid alignment of a view's own point map with the same pixels' points in the partner's frame.

    A similarity is fitted by iteratively reweighted least squares (L1 beyond the median error, errors relative to depth); its
    scale, the disagreement of the two passes, is split evenly.
    """
    usable = (samples.own[:, 2] > 0) & np.isfinite(samples.in_partner).all(axis=1)
    if usable.sum() < 3:
        return None
    own, target = samples.own[usable], samples.in_partner[usable]
    base = samples.weight[usable] / np.maximum(own[:, 2], 1e-9) ** 2
    weights = base
    for _ in range(ROUNDS):
        s, R, t = split_similarity(fit_similarities(own, target, weights))
        error = np.linalg.norm(s * own @ R.T + t - target, axis=1) / own[:, 2]
        weights = base / np.maximum(error, max(float(np.median(error)), 1e-9))
    return rigid(R, t / np.sqrt(s))


def _essential_with_scale(pair: PairObservation, inlier_pixels: float, seed: int) -> Floats | None:
    solved = solve_relative_pose(pair, inlier_pixels / 2, seed)  # the epipolar error has one component, not two
    return None if solved is None else metric_translation(pair, *solved)


def _flip(pose: Floats | None) -> Floats | None:
    return None if pose is None else invert(pose)
