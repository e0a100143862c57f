"""Where the 2D stage starts: what the 3D stage found, and what is known beforehand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.camera_state import CameraState, ReprojectionOptions
from mast3r_engine.alignment.given_frame import GivenFrame
from mast3r_engine.alignment.known_views import plausible_focal
from mast3r_engine.alignment.reprojection_problem import ReprojectionProblem
from mast3r_engine.alignment.similarity import split_similarity

Floats = NDArray[np.float64]


def first_state(
    problem: ReprojectionProblem,
    poses: Floats,  # (N, 4, 4) similarities component <- view
    options: ReprojectionOptions,
    frame: GivenFrame | None,  # the frame to work in, where the priors fix one
) -> CameraState:
    """Cameras and depths in the given frame or in the component's own."""
    moved = poses if frame is None else frame.similarity @ poses
    s, R, C = split_similarity(moved)
    if frame is not None and options.known is not None:
        fixed = options.known.views.pose_fixed
        R = np.where(fixed[:, None, None], options.known.views.pose[:, :3, :3], R)
        C = np.where(fixed[:, None], options.known.views.pose[:, :3, 3], C)
    log_size = np.log(s)
    log_depth = np.log(problem.canonical_depth) + np.repeat(log_size, np.diff(problem.anchor_start))
    return CameraState(R, C, _first_focals(problem, options), np.zeros((len(s), 2)), log_size, log_depth, log_size)


def _first_focals(problem: ReprojectionProblem, options: ReprojectionOptions) -> Floats:  # (N,) logarithms
    """Given ones that the photographs do not contradict, else the canonical views'; one for each camera."""
    if options.known is None:
        log_focal = np.log(problem.focal)
        return np.full(len(log_focal), log_focal.mean()) if options.shared_focal else log_focal
    views, held = options.known.views, options.known.focal_held
    given = zip(problem.focal, views.focal, views.focal_sigma, strict=True)
    in_original = np.log([plausible_focal(*values) for values in given]) - np.log(views.zoom)
    camera = np.zeros_like(views.camera) if options.shared_focal else views.camera
    for number in np.unique(camera):
        members = camera == number
        sure = members & held
        in_original[members] = in_original[sure if sure.any() else members].mean()
    log_focal = in_original + np.log(views.zoom)
    return np.asarray(log_focal, np.float64)
