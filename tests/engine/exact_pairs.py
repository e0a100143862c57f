"""Scenes built backwards from the answer: point pairs whose residuals vanish at the true cameras."""

from __future__ import annotations

import numpy as np

from mast3r_engine.alignment import CanonicalView
from mast3r_engine.alignment.camera_state import CameraState
from mast3r_engine.alignment.pair_points import PairPoints
from mast3r_engine.alignment.reprojection_problem import ReprojectionProblem
from mast3r_engine.evaluation.oracle import OracleNoise, OracleScene, complete_graph, oracle_canonicals
from mast3r_engine.evaluation.oracle.scene import visible


def exact_canonicals(scene: OracleScene) -> list[CanonicalView]:
    """Canonical views without any error."""
    views = oracle_canonicals(scene, complete_graph(len(scene)), OracleNoise.none())
    return [view for view in views if view is not None]


def exact_pairs(scene: OracleScene, canonicals: list[CanonicalView], step: int = 5) -> list[PairPoints]:
    """Every pair of the complete graph; pixels of one side on a grid, those of the other side where they really fall."""
    return [_exact_pair(scene, canonicals, i, j, step) for i, j in complete_graph(len(scene))]


def true_state(scene: OracleScene, problem: ReprojectionProblem) -> CameraState:
    """The answer."""
    return CameraState(
        rotation=np.stack([view.cam2world[:3, :3] for view in scene.views]),
        centre=np.stack([view.cam2world[:3, 3] for view in scene.views]),
        log_focal=np.log([view.K[0, 0] for view in scene.views]),
        principal_shift=np.zeros((len(scene), 2)),
        log_size=np.zeros(len(scene)),
        log_depth=np.log(problem.canonical_depth),
        first_log_size=np.zeros(len(scene)),
    )


def _exact_pair(scene: OracleScene, canonicals: list[CanonicalView], i: int, j: int, step: int) -> PairPoints:
    sides = []
    for a, b in ((i, j), (j, i)):
        view = scene.views[a]
        x, y = (g.ravel() for g in np.meshgrid(np.arange(2, view.width, step), np.arange(2, view.height, step)))
        points = canonicals[a].points[y, x].astype(np.float64)
        world = points @ view.cam2world[:3, :3].T + view.cam2world[:3, 3]
        xy, seen = visible(scene.views[b], world)
        other = (world - scene.views[b].cam2world[:3, 3]) @ scene.views[b].cam2world[:3, :3]
        sides.append((np.stack([x, y], axis=1).astype(float)[seen], xy[seen], points[seen], other[seen]))
    (here_i, there_j, own_i, moved_j), (here_j, there_i, own_j, moved_i) = sides
    forward = np.arange(len(here_i) + len(here_j)) < len(here_i)
    return PairPoints(
        i,
        j,
        np.concatenate([here_i, there_i]),
        np.concatenate([there_j, here_j]),
        np.concatenate([own_i, moved_i]),
        np.concatenate([moved_j, own_j]),
        np.ones(len(forward)),
        np.ones(len(forward)),
        forward,
        ~forward,
    )
