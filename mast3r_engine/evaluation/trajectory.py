"""Errors of estimated cameras against true ones: ATE after Sim(3), rotations, relative rotations and translations.

Poses are cam2world (N, 4, 4), OpenCV axes. Photographs that were not registered hold NaN: they are left out of the errors and
counted in `registered`, never dropped silently.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.similarity import fit_similarities, split_similarity

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrajectoryErrors:
    """Errors after the best similarity; lengths in the unit of the true poses, angles in degrees."""

    registered: int  # of the N views
    ate: float  # root mean square distance of camera centres
    rotation: float  # median angle between estimated and true orientation, after the alignment
    scale: float  # of the similarity estimate -> truth; 1 when the estimate is metric


def fit_similarity(
    source: Floats,  # (M, 3)
    target: Floats,  # (M, 3)
    weights: Floats | None = None,  # (M,)
) -> tuple[float, Floats, Floats]:  # s, R (3, 3), t (3,): target = s R source + t
    """Least-squares similarity between point sets (Umeyama, 1991); scale 1 where the source has no extent."""
    s, R, t = split_similarity(fit_similarities(source, target, np.ones(len(source)) if weights is None else weights))
    return float(s), R, t


def trajectory_errors(
    estimated: Floats,  # (N, 4, 4)
    true: Floats,  # (N, 4, 4)
) -> TrajectoryErrors:
    """Align the registered cameras by a similarity and measure what is left; NaN with fewer than three of them."""
    known = np.isfinite(estimated).all(axis=(1, 2))
    if known.sum() < 3:
        return TrajectoryErrors(int(known.sum()), float("nan"), float("nan"), float("nan"))
    estimated, true = estimated[known], true[known]
    s, R, t = fit_similarity(estimated[:, :3, 3], true[:, :3, 3])
    distance = np.linalg.norm(s * estimated[:, :3, 3] @ R.T + t - true[:, :3, 3], axis=1)
    angles = rotation_angle(R @ estimated[:, :3, :3], true[:, :3, :3])
    return TrajectoryErrors(int(known.sum()), float(np.sqrt((distance**2).mean())), float(np.median(angles)), s)


def rotation_angle(
    a: Floats,  # (..., 3, 3)
    b: Floats,  # (..., 3, 3)
) -> Floats:  # (...,) degrees
    """Geodesic distance between rotations, exact for small angles too."""
    chord = np.linalg.norm(a - b, axis=(-2, -1)) / (2 * np.sqrt(2))
    angle: Floats = np.degrees(2 * np.arcsin(np.clip(chord, 0, 1)))
    return angle


def relative_errors(
    estimated: Floats,  # (N, 4, 4)
    true: Floats,  # (N, 4, 4)
) -> tuple[Floats, Floats]:  # (N(N-1)/2,) rotation errors, translation direction errors (sign-insensitive); degrees
    """Errors of all unordered pairs' relative poses; 1e6 where either view is not registered."""
    first, second = np.triu_indices(len(true), 1)
    lost = np.isnan(estimated.sum(axis=(1, 2)))
    patched = np.where(lost[:, None, None], np.eye(4), estimated)
    relative = [np.linalg.inv(poses[first]) @ poses[second] for poses in (patched, true)]
    rotation = rotation_angle(relative[0][:, :3, :3], relative[1][:, :3, :3])
    directions = [r[:, :3, 3] / np.maximum(np.linalg.norm(r[:, :3, 3], axis=1, keepdims=True), 1e-12) for r in relative]
    cosine = np.abs((directions[0] * directions[1]).sum(1))
    translation = np.degrees(np.arccos(np.clip(cosine, 0, 1)))
    missing = lost[first] | lost[second]
    return np.where(missing, 1e6, rotation), np.where(missing, 1e6, translation)


def accuracy_at(
    errors: Floats,  # (P,) degrees
    threshold: float,
) -> float:
    """Fraction of errors below a threshold: RRA@tau on rotation errors, RTA@tau on translation errors."""
    return float((errors < threshold).mean())


def mean_average_accuracy(
    rotation: Floats,  # (P,) degrees
    translation: Floats,  # (P,) degrees
    threshold: int = 30,
) -> float:
    """mAA@30: mean over tau = 1..30 degrees of the fraction of pairs whose larger error is below tau (30 bins of one degree)."""
    worst = np.maximum(rotation, translation)
    return float(np.mean([(worst < tau).mean() for tau in range(1, threshold + 1)]))
