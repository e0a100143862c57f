"""The map-free benchmark's metrics: translation, rotation, VCRE, precision and AUC, with its counting rules.

Its rules that are not obvious, kept so that numbers compare: frames are keyed by the five digits of their name, so that
`seq0/frame_00000` and `seq1/frame_00000` are one; every fifth entry in the order of poses.txt is evaluated; medians are over
submitted frames and then averaged over scenes; a scene missing from the submission counts ALL its frames as failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.evaluation.mapfree_dataset import QUERY_STEP, MapfreeScene, frame_number
from mast3r_engine.evaluation.mapfree_submission import FrameEstimate, Submission
from mast3r_engine.localisation import PinholeCamera

Floats = NDArray[np.float64]

MAX_TRANSLATION, MAX_ROTATION = 0.25, 5.0  # metres, degrees
MAX_VCRE = 90.0  # pixels of 540x720 images


@dataclass(frozen=True)
class FrameErrors:
    """Errors of the frames of one scene that are both evaluated and submitted, and how many were not submitted."""

    translation: Floats  # (n,) metres
    rotation: Floats  # (n,) degrees
    vcre: Floats  # (n,) pixels
    confidence: Floats  # (n,)
    failures: int


@dataclass(frozen=True)
class MapfreeScores:
    """The table of the benchmark; fractions, metres, degrees, pixels."""

    median_translation: float
    median_rotation: float
    median_vcre: float
    pose_precision: float  # below 0.25 m and 5 degrees, of all frames
    pose_auc: float
    vcre_precision: float  # below 90 px, of all frames
    vcre_auc: float
    frames: int  # evaluated, failures included
    failures: int


def score_submission(scenes: Sequence[MapfreeScene], estimates: Submission) -> MapfreeScores:
    """Score a submission over all scenes."""
    errors = [scene_errors(scene, estimates.get(scene.name)) for scene in scenes]
    scored = [scene for scene in errors if len(scene.vcre)]
    failures = sum(scene.failures for scene in errors)
    joined = [np.concatenate([getattr(scene, name) for scene in errors]) for name in ("translation", "rotation", "vcre")]
    confidence = np.concatenate([scene.confidence for scene in errors])
    good_pose = (joined[0] < MAX_TRANSLATION) & (joined[1] < MAX_ROTATION)
    good_vcre = joined[2] < MAX_VCRE
    total = len(confidence) + failures
    return MapfreeScores(
        median_translation=_mean_of_medians([scene.translation for scene in scored]),
        median_rotation=_mean_of_medians([scene.rotation for scene in scored]),
        median_vcre=_mean_of_medians([scene.vcre for scene in scored]),
        pose_precision=float(good_pose.sum() / total) if total else float("nan"),
        pose_auc=ranked_auc(good_pose, confidence, failures),
        vcre_precision=float(good_vcre.sum() / total) if total else float("nan"),
        vcre_auc=ranked_auc(good_vcre, confidence, failures),
        frames=total,
        failures=failures,
    )


def scene_errors(scene: MapfreeScene, estimates: Sequence[FrameEstimate] | None) -> FrameErrors:
    """Errors of one scene; None: the submission has no file for it."""
    true: dict[int, Floats] = {}
    for name, pose in scene.cam2world.items():
        true[frame_number(name)] = pose  # a later frame of the same number replaces the pose, not the place
    if estimates is None:
        return FrameErrors(np.empty(0), np.empty(0), np.empty(0), np.empty(0), len(true))
    cameras = {frame_number(name): camera for name, camera in scene.cameras.items()}
    submitted = {frame_number(estimate.frame): estimate for estimate in estimates}
    evaluated = list(true)[::QUERY_STEP]
    found = [number for number in evaluated if number in submitted]
    rows = [
        (
            *pose_errors(submitted[n].cam2world, true[n]),
            vcre(submitted[n].cam2world, true[n], cameras[n]),
            submitted[n].confidence,
        )
        for n in found
    ]
    columns = np.array(rows, np.float64).reshape(-1, 4).T
    return FrameErrors(columns[0], columns[1], columns[2], columns[3], len(evaluated) - len(found))


def pose_errors(
    estimated: Floats,  # (4, 4) cam2world
    true: Floats,  # (4, 4)
) -> tuple[float, float]:  # metres between the centres, degrees
    """Translation and rotation error of one frame."""
    relative = estimated[:3, :3].T @ true[:3, :3]
    vector = 0.5 * np.array([relative[2, 1] - relative[1, 2], relative[0, 2] - relative[2, 0], relative[1, 0] - relative[0, 1]])
    angle = np.arctan2(np.linalg.norm(vector), (np.trace(relative) - 1) / 2)
    return float(np.linalg.norm(estimated[:3, 3] - true[:3, 3])), float(np.degrees(angle))


def vcre(
    estimated: Floats,  # (4, 4) cam2world
    true: Floats,  # (4, 4)
    camera: PinholeCamera,
) -> float:
    """Virtual correspondence reprojection error: mean shift, in pixels, of 196 points in front of the true camera.

    Pixels are clamped to the image; points behind the estimated camera are projected like any other.
    """
    points = virtual_points()
    moved = points @ (np.linalg.inv(estimated) @ true)[:3, :3].T + (np.linalg.inv(estimated) @ true)[:3, 3]
    shift = _project(moved, camera) - _project(points, camera)
    return float(np.linalg.norm(shift, axis=1).mean())


def virtual_points() -> Floats:  # (196, 3) camera frame, metres
    """A grid of 7 x 4 x 7 points at distances of 0.3 m."""
    x, y, z = np.linspace(-0.9, 0.9, 7), np.linspace(-0.45, 0.45, 4), np.linspace(1.8, 3.6, 7)
    return np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1).reshape(-1, 3)


def ranked_auc(
    good: NDArray[np.bool_],  # (n,) submitted frames
    confidence: Floats,  # (n,)
    failures: int,
) -> float:
    """Average precision over confidence thresholds; "recall" is the fraction of all frames that a threshold keeps."""
    total = len(good) + failures
    if total == 0:
        return float("nan")
    order = np.argsort(-confidence, kind="stable")
    kept = np.arange(1, len(good) + 1)
    last_of_tie = np.append(np.diff(confidence[order]) != 0, True)[: len(good)]
    precision = (np.cumsum(good[order]) / kept)[last_of_tie]
    recall = (kept / total)[last_of_tie]
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def _mean_of_medians(errors: Sequence[Floats]) -> float:
    return float(np.mean([np.median(scene) for scene in errors])) if errors else float("nan")


def _project(points: Floats, camera: PinholeCamera) -> Floats:  # (M, 3) -> (M, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        homogeneous = points @ camera.K.T
        pixels = homogeneous[:, :2] / homogeneous[:, 2:]
    clamped: Floats = np.clip(pixels, 0.0, [camera.width, camera.height])
    return clamped
