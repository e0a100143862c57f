"""What a checkpoint's reconstructions of photographs with known cameras are worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.errors import EngineError
from mast3r_engine.evaluation.posed_photos import PosedScene, read_depth_map
from mast3r_engine.evaluation.trajectory import accuracy_at, relative_errors, rotation_angle, trajectory_errors
from mast3r_engine.options import Options
from mast3r_engine.pipeline import reconstruct
from mast3r_engine.predictions import PairNetwork
from mast3r_engine.reconstruction import Reconstruction

THRESHOLDS = (5.0, 15.0, 30.0)  # degrees
WIDE = 30.0  # degrees between two true orientations, from which a pair counts as wide apart
WIDE_LIMIT = 15.0  # degrees of error, rotation and direction of translation both


@dataclass(frozen=True)
class SceneScores:
    """One scene's figures; NaN where they cannot be had. Pairs with an unregistered photograph count as wrong."""

    scene: str
    photos: int
    registered: int  # in the largest component
    rra: tuple[float, float, float]  # share of pairs with a relative rotation within 5, 15, 30 degrees
    rta: tuple[float, float, float]  # the same for the direction of the relative translation
    mean_rotation: float  # degrees, over the pairs that are registered
    ate: float  # RMS of camera centres after Sim(3), over the extent of the true ones
    focal: float  # median |ln(focal / true focal)| of the registered
    scale: float  # |ln| of the Sim(3)'s scale; NaN unless network and truth are metric
    depth: float  # median relative depth error after one factor per map, where there is truth
    wide_right: int  # pairs wide apart whose relative rotation and translation are both within 15 degrees
    wide: int  # pairs wide apart in truth
    failure: str  # the error's code when nothing came out

    @property
    def ate_percent(self) -> float:
        """ATE in percent of the extent."""
        return 100 * self.ate


def score_scene(scene: PosedScene, net: PairNetwork, options: Options | None = None) -> SceneScores:
    """Reconstruct a scene's photographs and compare."""
    try:
        result = reconstruct(list(scene.photos), net, options or Options())
    except EngineError as error:
        nothing = np.full_like(scene.cam2world, np.nan)
        return _score(scene, nothing, None, error.code)
    poses = np.where((result.component == 0)[:, None, None], result.cam2world, np.nan)
    return _score(scene, poses, result, "")


def score_poses(scene: PosedScene, poses: NDArray[np.float64], failure: str = "") -> SceneScores:
    """The pose figures of any method's cameras (N, 4, 4), NaN where it registered nothing."""
    return _score(scene, poses, None, failure)


def _score(scene: PosedScene, poses: NDArray[np.float64], result: Reconstruction | None, failure: str) -> SceneScores:
    known: NDArray[np.bool_] = np.asarray(np.isfinite(poses).all(axis=(1, 2)))
    rotation, translation = relative_errors(poses, scene.cam2world)
    found = rotation < 360
    errors = trajectory_errors(poses, scene.cam2world)
    centres = scene.cam2world[:, :3, 3]
    extent = float(np.linalg.norm(centres.max(0) - centres.min(0)))
    is_metric = result is not None and result.metric and scene.metric
    wide = _angles_apart(scene.cam2world) >= WIDE
    return SceneScores(
        scene=scene.name,
        photos=len(scene.photos),
        registered=int(known.sum()),
        rra=_shares(rotation),
        rta=_shares(translation),
        mean_rotation=float(rotation[found].mean()) if found.any() else float("nan"),
        ate=errors.ate / extent,
        focal=_focal_error(scene, result, known),
        scale=abs(float(np.log(errors.scale))) if is_metric and errors.scale > 0 else float("nan"),
        depth=_depth_error(scene, result, known),
        wide_right=int((np.maximum(rotation, translation)[wide] < WIDE_LIMIT).sum()),
        wide=int(wide.sum()),
        failure=failure,
    )


def _angles_apart(cam2world: NDArray[np.float64]) -> NDArray[np.float64]:  # (N(N-1)/2,) degrees
    """Angles between the orientations of all unordered pairs, in the order of `relative_errors`."""
    first, second = np.triu_indices(len(cam2world), 1)
    return rotation_angle(cam2world[first, :3, :3], cam2world[second, :3, :3])


def _shares(errors: NDArray[np.float64]) -> tuple[float, float, float]:
    five, fifteen, thirty = (accuracy_at(errors, threshold) for threshold in THRESHOLDS)
    return five, fifteen, thirty


def _focal_error(scene: PosedScene, result: Reconstruction | None, known: NDArray[np.bool_]) -> float:
    if result is None or not known.any():
        return float("nan")
    ratio = result.intrinsics[known, 0, 0] / scene.K[known, 0, 0]
    return float(np.median(np.abs(np.log(ratio))))


def _depth_error(scene: PosedScene, result: Reconstruction | None, known: NDArray[np.bool_]) -> float:
    """Each estimated map is compared at its own pixels with the nearest true depth."""
    if result is None:
        return float("nan")
    errors = []
    for i in np.flatnonzero(known):
        truth = read_depth_map(scene, int(i))
        if truth is None:
            continue
        estimated = result.depth[i].astype(np.float64)
        y, x = np.mgrid[: estimated.shape[0], : estimated.shape[1]]
        original = np.rint(result.geometry[i].to_original(np.stack((x, y), -1).astype(np.float64))).astype(int)
        columns = original[..., 0].clip(0, truth.shape[1] - 1)
        rows = original[..., 1].clip(0, truth.shape[0] - 1)
        true = truth[rows, columns]
        both = (true > 0) & np.isfinite(estimated) & (estimated > 0)
        if both.any():
            ratio = estimated[both] / true[both]
            errors.append(np.median(np.abs(ratio / np.median(ratio) - 1)))
    return float(np.mean(errors)) if errors else float("nan")
