"""The relative similarity of a pair of images from its matches, and which of the matches agree with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.canonical_view import CanonicalView
from mast3r_engine.alignment.order_statistics import median, order_by
from mast3r_engine.alignment.pair_points import PairPoints, swap_sides
from mast3r_engine.alignment.similarity import fit_similarities, invert_similarity, split_similarity, transform
from mast3r_engine.alignment.surface_facing import same_side

Floats = NDArray[np.float64]

MAX_POINT_ERROR = 0.12  # of the depth: what a match may be off in space
MAX_PIXEL_ERROR = 0.04  # of the longer side: what it may be off in the image
MIN_INLIER_RATIO = 0.15  # fewer agreeing matches than this are chance
MIN_EXTENT = 2e-3  # of the depth: second singular value of the agreeing points; below it a rotation is free
MIN_FACING = 0.0  # mean cosine between the normals of the matched surfaces; see surface_facing
SCORED = 400  # matches that judge a hypothesis
HYPOTHESES = (48, 512)  # three-point samples; the second number where the first finds few inliers
IRLS_ROUNDS = (5, 2)  # on some of the points, then on all


@dataclass(frozen=True)
class PairGeometry:
    """A pair that holds: points of image i, moved by `relative`, fall on the same points of image j."""

    i: int
    j: int
    relative: Floats  # (4, 4) similarity, frame of j <- frame of i
    points: PairPoints  # its i and j are those of the whole set; M points
    inliers: NDArray[np.bool_]  # (M,)
    weights: Floats  # (M,) robust weights at the end of the fit, 0 for outliers

    @property
    def support(self) -> int:
        return int(self.inliers.sum())


def estimate_pair(
    view_i: CanonicalView, view_j: CanonicalView, points: PairPoints, *, min_inliers: int, seed: int, verify: bool = True
) -> PairGeometry | str:
    """Fit the pair's similarity robustly; a short reason instead where too few points agree on one.

    Without `verify` the better half of the points passes for agreement, however bad it is.
    Random samples depend on the seed and on the points, not on the images' numbers or their order.
    """
    if len(points) < min_inliers:
        return "too few matches"
    if _comes_second(points):
        geometry = _estimate(view_i, swap_sides(points), min_inliers, seed, verify)
        if not isinstance(geometry, str):
            back = invert_similarity(geometry.relative)
            geometry = PairGeometry(points.i, points.j, back, points, geometry.inliers, geometry.weights)
    else:
        geometry = _estimate(view_j, points, min_inliers, seed, verify)
    if verify and not isinstance(geometry, str) and _facing(view_i, view_j, geometry) < MIN_FACING:
        return "the matched surfaces face opposite ways"
    return geometry


def _facing(view_i: CanonicalView, view_j: CanonicalView, geometry: PairGeometry) -> float:
    _, R, _ = split_similarity(geometry.relative)
    inliers, points = geometry.inliers, geometry.points
    return same_side(view_i, view_j, points.xy_i[inliers], points.xy_j[inliers], R)


def _estimate(view_j: CanonicalView, points: PairPoints, min_inliers: int, seed: int, verify: bool) -> PairGeometry | str:
    P, Q = points.points_i, points.points_j
    row_by_row = np.array([1.0, 1e6])
    order = order_by(points.xy_i @ row_by_row, points.xy_j @ row_by_row)
    relative = _best_hypothesis(P[order], Q[order], np.random.default_rng([seed, len(points)]))
    for some, rounds in zip((order[:: max(1, len(order) // SCORED)], order), IRLS_ROUNDS, strict=True):
        p, q = P[some], Q[some]
        precision = points.trust[some] / np.maximum(q[:, 2], 1e-6) ** 2
        for _ in range(rounds):
            relative = fit_similarities(p, q, _robust_weights(_relative_error(relative, p, q)) * precision)
    error = _relative_error(relative, P, Q)
    inliers = (error < MAX_POINT_ERROR) & (_pixel_error(relative, P, view_j, points.xy_j) < MAX_PIXEL_ERROR)
    if not verify:
        inliers = error <= median(error)
    elif inliers.sum() < max(min_inliers, MIN_INLIER_RATIO * len(points)):
        return "matches do not agree on a relative pose"
    if _extent(P[inliers]) < MIN_EXTENT:
        return "matches lie too close together"
    weights = np.where(inliers, _robust_weights(error) * points.trust, 0.0)
    return PairGeometry(points.i, points.j, relative, points, inliers, weights)


def _comes_second(points: PairPoints) -> bool:
    """Choose the pair's direction by its content, so that numbering the images otherwise changes nothing."""
    key_i, key_j = (float((np.rint(xy * 16) * np.array([1, 4099])).sum()) for xy in (points.xy_i, points.xy_j))
    return key_j < key_i


def _best_hypothesis(P: Floats, Q: Floats, rng: np.random.Generator) -> Floats:  # (4, 4)
    scored = np.linspace(0, len(P) - 1, min(SCORED, len(P))).astype(np.int64)
    p, q = P[scored], Q[scored]
    judged = 1.0 / (MAX_POINT_ERROR * q[:, 2]) ** 2
    best, best_score = np.eye(4), -np.inf
    for count in HYPOTHESES:
        triples = rng.integers(0, len(P), (count, 3))
        hypotheses = fit_similarities(P[triples], Q[triples], np.ones(triples.shape))
        for block in np.array_split(hypotheses, max(1, count // 64)):
            away = transform(block, p) - q
            error = np.einsum("hmk,hmk->hm", away, away)  # squared
            score = np.maximum(0.0, 1.0 - error * judged).sum(1)
            if score.max() > best_score:
                best, best_score = block[int(score.argmax())], float(score.max())
        if best_score > 0.25 * len(scored):
            break
    return best


def _relative_error(relative: Floats, P: Floats, Q: Floats) -> Floats:  # (M,) distance over depth, the larger of both ways
    away = transform(relative, P) - Q
    error = np.sqrt(np.einsum("mk,mk->m", away, away))
    s = np.sqrt(relative[0, :3] @ relative[0, :3])
    relative_error: Floats = error / np.maximum(np.minimum(Q[:, 2], s * P[:, 2]), 1e-9)
    return relative_error


def _robust_weights(error: Floats) -> Floats:  # (M,)
    """Geman-McClure weights at a scale taken from the better half of the errors."""
    scale = min(max(2.5 * min(median(error), MAX_POINT_ERROR), 1e-9), MAX_POINT_ERROR)
    weights: Floats = 1.0 / (1.0 + (error / scale) ** 2) ** 2
    return weights


def _pixel_error(relative: Floats, P: Floats, view_j: CanonicalView, xy_j: Floats) -> Floats:  # (M,)
    """Distance in image j over its longer side; infinite behind the camera."""
    moved = transform(relative, P)
    front = moved[:, 2] > 1e-6
    xy = moved[:, :2] / np.where(front, moved[:, 2], 1.0)[:, None] * view_j.focal + np.array(view_j.principal_point)
    away = xy - xy_j
    error = np.sqrt(np.einsum("mk,mk->m", away, away)) / max(view_j.height, view_j.width)
    return np.where(front, error, np.inf)


def _extent(points: Floats) -> float:
    centred = points - points.mean(0)
    middle = max(float(np.linalg.eigvalsh(centred.T @ centred)[1]), 0.0)
    return float(np.sqrt(middle / len(points)) / max(median(points[:, 2]), 1e-9))
