"""Relative-pose errors of image pairs, and AUC@5/10/20 as MegaDepth-1500 and ScanNet-1500 report it.

RRA, RTA and mAA@30 over all pairs of a scene are in `trajectory`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.evaluation.trajectory import rotation_angle

Floats = NDArray[np.float64]


def relative_pose_errors(
    estimated: Floats,  # (P, 4, 4) either direction, the same as `true`; NaN where there is no estimate
    true: Floats,  # (P, 4, 4)
) -> tuple[Floats, Floats]:  # (P,) rotation, (P,) translation direction; degrees, infinite without an estimate
    """Rotation angle, and angle between the translations' directions regardless of sign (at most 90 degrees)."""
    lost: NDArray[np.bool_] = ~np.all(np.isfinite(estimated), axis=(1, 2))
    filled = np.where(lost[:, None, None], np.eye(4), estimated)
    rotation = rotation_angle(filled[:, :3, :3], true[:, :3, :3])
    a, b = filled[:, :3, 3], true[:, :3, 3]
    sine, cosine = np.linalg.norm(np.cross(a, b), axis=1), np.abs((a * b).sum(axis=1))
    translation = np.degrees(np.arctan2(sine, cosine))
    return np.where(lost, np.inf, rotation), np.where(lost, np.inf, translation)


def pose_auc(
    errors: Floats,  # (P,) degrees: the larger of rotation and translation error; infinite: failed
    thresholds: Sequence[float] = (5.0, 10.0, 20.0),
) -> list[float]:
    """Area under the recall curve up to each threshold, divided by the threshold.

    Recall rises by 1/P at each sorted error, starts at (0, 0), is joined by straight lines, and stays constant from the last
    error below the threshold to the threshold.
    """
    finite = np.sort(np.asarray(errors, np.float64))
    if len(finite) == 0:
        return [float("nan")] * len(thresholds)
    x = np.concatenate([[0.0], finite])
    recall = np.arange(len(x)) / len(finite)
    areas = []
    for threshold in thresholds:
        below = int(np.searchsorted(x, threshold))
        ends = np.append(x[:below], threshold)
        heights = np.append(recall[:below], recall[below - 1])
        areas.append(float(np.trapezoid(heights, ends) / threshold))
    return areas
