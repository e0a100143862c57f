"""The map-free benchmark's submission: a zip with one `pose_<scene>.txt` per scene.

Lines: `seq1/frame_XXXXX.jpg qw qx qy qz tx ty tz confidence`, world to camera, single spaces; frames without an estimate are left
out.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mast3r_engine.errors import DatasetError
from mast3r_engine.evaluation.mapfree_dataset import pose_from_line

Floats = NDArray[np.float64]

FIELDS = 9


@dataclass(frozen=True)
class FrameEstimate:
    """One frame's estimated pose."""

    frame: str  # seq1/frame_00005.jpg
    cam2world: Floats  # (4, 4) the world is the reference's camera
    confidence: float  # >= 0; frames are ranked by it


Submission = Mapping[str, Sequence[FrameEstimate]]  # by scene


def write_submission(estimates: Submission, file: Path) -> None:
    """Write the zip; ValueError for a confidence or pose that the benchmark would refuse."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for scene in sorted(estimates):
            lines = [_format(estimate) for estimate in estimates[scene]]
            archive.writestr(f"pose_{scene}.txt", "".join(line + "\n" for line in lines))


def read_submission(file: Path) -> dict[str, list[FrameEstimate]]:
    """Read a zip as the benchmark does: malformed lines are ignored, a negative confidence is an error."""
    estimates = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.startswith("pose_") and name.endswith(".txt"):
                    scene = name.removeprefix("pose_").removesuffix(".txt")
                    estimates[scene] = _parse(archive.read(name).decode("utf-8"), scene)
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise DatasetError(f"{file} is no submission ({error}); it must be a zip of pose_<scene>.txt files") from error
    return estimates


def _format(estimate: FrameEstimate) -> str:
    if not (np.isfinite(estimate.cam2world).all() and np.isfinite(estimate.confidence) and estimate.confidence >= 0):
        raise ValueError(f"{estimate.frame}: pose and confidence must be finite, the confidence 0 or more; leave the frame out")
    world2cam = np.linalg.inv(estimate.cam2world)
    quaternion = Rotation.from_matrix(world2cam[:3, :3]).as_quat(scalar_first=True, canonical=True)
    numbers = [*quaternion, *world2cam[:3, 3], estimate.confidence]
    return " ".join([estimate.frame, *(f"{number:.10g}" for number in numbers)])


def _parse(text: str, scene: str) -> list[FrameEstimate]:
    estimates = []
    for line in text.splitlines():
        words = line.split(" ")
        try:
            values = np.array([float(word) for word in words[1:]])
        except ValueError:
            continue
        if len(words) != FIELDS or not np.isfinite(values).all() or not np.any(values[:4]):
            continue
        if values[7] < 0:
            raise DatasetError(f"pose_{scene}.txt: {words[0]} has the confidence {values[7]:g}; it must be 0 or more")
        estimates.append(FrameEstimate(words[0], pose_from_line(values[:7]), float(values[7])))
    return estimates
