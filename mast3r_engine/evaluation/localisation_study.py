"""Localisation on the oracle: errors, normalised by the covariances that were reported, case by case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.evaluation.oracle import (
    OracleNetwork,
    OracleNoise,
    OracleScene,
    grey_image,
    make_scene,
    oracle_matches,
    predict,
)
from mast3r_engine.evaluation.trajectory import rotation_angle
from mast3r_engine.localisation import Localization, localize
from mast3r_engine.localisation.observation import PairObservation, PointMapSamples
from mast3r_engine.localisation.rigid_motion import left_difference
from mast3r_engine.options import LocalizeOptions

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PoseCase:
    """One query: its error, and the error in units of the reported covariance."""

    translation: float  # metres between the camera centres
    rotation: float  # degrees
    scale: float  # relative error of the distance between the cameras
    axes: Floats  # (6,) left-perturbation error over its standard deviation
    nees: float  # normalised squared error per degree of freedom


@dataclass(frozen=True)
class StudySummary:
    """A row of the table."""

    cases: int
    refused: dict[str, int]
    translation: float  # median, metres
    rotation: float  # median, degrees
    scale: float  # root mean square of the relative error
    within_3_sigma: Floats  # (6,) fraction of cases per axis
    nees: float  # mean


def measure_pose(
    query2reference: Floats,  # (4, 4)
    covariance: Floats,  # (6, 6)
    true: Floats,  # (4, 4)
) -> PoseCase:
    """Compare an estimate with the truth."""
    error = left_difference(true, query2reference)
    length = float(np.linalg.norm(true[:3, 3]))
    return PoseCase(
        translation=float(np.linalg.norm(query2reference[:3, 3] - true[:3, 3])),
        rotation=float(rotation_angle(query2reference[:3, :3], true[:3, :3])),
        scale=float(np.linalg.norm(query2reference[:3, 3]) / length - 1) if length > 0 else float("nan"),
        axes=error / np.sqrt(np.diag(covariance)),
        nees=float(error @ np.linalg.solve(covariance, error)) / 6,
    )


def summarise(cases: Iterable[PoseCase | str]) -> StudySummary:
    """Sum up cases; text is the reason of a refusal."""
    listed = list(cases)
    refused = Counter(case for case in listed if isinstance(case, str))
    found = [case for case in listed if isinstance(case, PoseCase)]
    if not found:
        nan = float("nan")
        return StudySummary(len(listed), dict(refused), nan, nan, nan, np.full(6, nan), nan)
    return StudySummary(
        cases=len(listed),
        refused=dict(refused),
        translation=float(np.median([case.translation for case in found])),
        rotation=float(np.median([case.rotation for case in found])),
        scale=float(np.sqrt(np.mean([case.scale**2 for case in found]))),
        within_3_sigma=np.asarray((np.abs([case.axes for case in found]) < 3).mean(axis=0)),
        nees=float(np.mean([case.nees for case in found])),
    )


def relative_pose(scene: OracleScene, reference: int = 0, query: int = 1) -> Floats:  # (4, 4) query2reference
    """The truth."""
    pose: Floats = np.linalg.inv(scene.views[reference].cam2world) @ scene.views[query].cam2world
    return pose


def localize_view(
    scene: OracleScene, noise: OracleNoise, seed: int, given_intrinsics: bool = True, options: LocalizeOptions | None = None
) -> Localization:
    """Localise view 1 against view 0 through the oracle network, images and matching included."""
    images = [grey_image(k, view.height, view.width) for k, view in enumerate(scene.views)]
    cameras = [view.K if given_intrinsics else None for view in scene.views]
    return localize(images[1], images[0], OracleNetwork(scene, noise, seed=seed), options, cameras[1], cameras[:1])


def case_of(answer: Localization, scene: OracleScene) -> PoseCase | str:
    """The answer's case, or why it was refused."""
    if answer.reason is not None:
        return answer.reason
    return measure_pose(answer.query2reference, answer.covariance, relative_pose(scene))


def random_scene(seed: int, height: int = 144, width: int = 192, arc: tuple[float, float] = (5.0, 50.0)) -> OracleScene:
    """Two views of a room; how far apart is drawn from the seed."""
    return make_scene(2, height, width, seed=seed, arc_degrees=float(np.random.default_rng([seed, 601]).uniform(*arc)))


def observe_directly(scene: OracleScene, noise: OracleNoise, seed: int, subsample: int = 8) -> PairObservation:
    """The observation of view 1 against view 0 with the oracle's own (integer) matches: no network, no search."""
    reference, query = scene.views[0], scene.views[1]
    matches = oracle_matches(scene, [(0, 1)], noise, seed=seed, subsample=subsample)[0]
    first, second = predict(scene, 0, 1, noise, seed), predict(scene, 1, 0, noise, seed)
    return PairObservation(
        xy_reference=matches.xy_i.astype(np.float64),
        xy_query=matches.xy_j.astype(np.float64),
        conf=matches.conf.astype(np.float64),
        depth_reference=first.pts_first[matches.xy_i[:, 1], matches.xy_i[:, 0], 2],
        depth_query=second.pts_first[matches.xy_j[:, 1], matches.xy_j[:, 0], 2],
        K_reference=reference.K,
        K_query=query.K,
        size_reference=(reference.height, reference.width),
        size_query=(query.height, query.width),
        samples_reference=_sample(first.pts_first, second.pts_second),
        samples_query=_sample(second.pts_first, first.pts_second),
    )


def _sample(own: Floats, in_partner: Floats) -> PointMapSamples:  # (H, W, 3) each
    y, x = (axis.ravel() for axis in np.mgrid[6 : own.shape[0] : 12, 6 : own.shape[1] : 12])
    return PointMapSamples(np.stack([x, y], axis=1).astype(np.float64), own[y, x], in_partner[y, x], np.ones(len(x)))
