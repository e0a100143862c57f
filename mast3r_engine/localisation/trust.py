"""When a pose is not to be trusted, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.evaluation.trajectory import rotation_angle
from mast3r_engine.localisation.observation import PairObservation
from mast3r_engine.options import LocalizeOptions

Floats = NDArray[np.float64]

Reason = Literal[
    "no_overlap",  # the matches agree on no pose
    "too_few_inliers",  # they agree, but too few do
    "inconsistent_directions",  # the passes, the directions of reprojection, or matches and maps contradict each other
    "planar_degeneracy",  # all points on one plane, and a second pose explains them as well
    "low_parallax",  # the rays are nearly parallel: translation and scale rest on the predicted depth alone
    "uncertain",  # the covariance is too large
    "inconsistent_references",  # no two references agree on where the query is
    "contradicts_prior",  # the pose found lies outside the prior
    "outside_map",  # no photograph of the map sees what a query within the prior could see
]

MAX_SCALE_GAP = 0.35  # log ratio of the sizes that the two passes give
MAX_MAP_ROTATION = 30.0  # degrees between the pose of the matches and that of the point maps
MAX_MAP_DISTANCE = 0.5  # between their camera centres, as a fraction of the median depth
MAX_ONE_SIDED = 0.6  # fraction of matches that agree in one direction only

Refusal = tuple[Reason, str]


def refuse_matches(matches: int, inliers: int, options: LocalizeOptions) -> Refusal | None:
    """Too few matches agree on any pose."""
    ratio = inliers / max(matches, 1)
    if matches < options.min_inliers:
        return (
            "no_overlap",
            f"{matches} matches; at least {options.min_inliers} must agree. Do both photographs show the same place?",
        )
    if ratio < options.min_inlier_ratio:
        return (
            "no_overlap",
            f"{inliers} of {matches} matches ({ratio:.1%}) agree on a pose; it must be {options.min_inlier_ratio:.0%} or more",
        )
    if inliers < options.min_inliers:
        return "too_few_inliers", f"{inliers} matches agree on a pose; it must be {options.min_inliers} or more"
    return None


def refuse_contradiction(log_scale_gap: float, one_sided: float, metric: bool) -> Refusal | None:
    """The two decoder passes do not tell the same story."""
    if metric and abs(log_scale_gap) > MAX_SCALE_GAP:
        return (
            "inconsistent_directions",
            f"the two decoder passes differ in size by a factor of {np.exp(abs(log_scale_gap)):.2f}; "
            f"it must be below {np.exp(MAX_SCALE_GAP):.2f}",
        )
    if one_sided > MAX_ONE_SIDED:
        return (
            "inconsistent_directions",
            f"{one_sided:.0%} of the matches agree in one direction only; it must be below {MAX_ONE_SIDED:.0%}",
        )
    return None


def refuse_other_pose(
    pose: Floats,  # (4, 4) from the matches
    from_maps: Sequence[Floats],  # (4, 4) each, from the point maps alone
    depth: float,  # median of the inliers
) -> Refusal | None:
    """Matches of look-alikes can agree among themselves on a wrong pose; the network's own point maps then disagree with it."""
    gaps = [
        (float(rotation_angle(pose[:3, :3], other[:3, :3])), float(np.linalg.norm(pose[:3, 3] - other[:3, 3])))
        for other in from_maps
    ]
    if not gaps or any(angle < MAX_MAP_ROTATION and distance < MAX_MAP_DISTANCE * depth for angle, distance in gaps):
        return None
    angle, distance = min(gaps)
    return (
        "inconsistent_directions",
        f"the matches' pose lies {angle:.0f} degrees and {distance:.2g} away from that of the point maps "
        f"(median depth {depth:.2g}); look-alikes in two different places?",
    )


def refuse_parallax(parallax: float, options: LocalizeOptions) -> Refusal | None:
    """Nothing but the predicted depth says how far the camera moved."""
    if parallax < options.min_parallax_degrees:
        return (
            "low_parallax",
            f"median parallax is {parallax:.2f} degrees; it must be {options.min_parallax_degrees:g} or more to verify the scale",
        )
    return None


def refuse_uncertainty(
    covariance: Floats,  # (6, 6)
    depth: float,  # median of the inliers
    options: LocalizeOptions,
) -> Refusal | None:
    """The standard deviations are too large to be of use."""
    translation = float(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1]))
    rotation = float(np.degrees(np.sqrt(np.linalg.eigvalsh(covariance[3:, 3:])[-1])))
    if rotation > options.max_rotation_sigma_degrees:
        return (
            "uncertain",
            f"rotation has a standard deviation of {rotation:.2f} degrees; at most {options.max_rotation_sigma_degrees:g}",
        )
    if translation > options.max_translation_sigma * depth:
        return (
            "uncertain",
            f"translation has a standard deviation of {translation:.3g} at a median depth of {depth:.3g}; "
            f"at most {options.max_translation_sigma:g} times the depth",
        )
    return None


def median_parallax(
    pair: PairObservation,  # inliers
    pose: Floats,  # (4, 4) query2reference
) -> float:
    """Median angle between the rays from both camera centres to the inliers' points, in degrees."""
    points = pair.points_reference()
    rays = points, points - pose[:3, 3]
    cross = np.linalg.norm(np.cross(*rays), axis=1)
    return float(np.degrees(np.median(np.arctan2(cross, (rays[0] * rays[1]).sum(axis=1))))) if len(points) else 0.0
