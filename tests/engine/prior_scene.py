"""A noisy oracle scene, its answers, and what alignment makes of it with priors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment import CanonicalView, align_dense, align_sparse
from mast3r_engine.correspondences import PairMatches
from mast3r_engine.evaluation.oracle import (
    OracleNoise,
    OracleScene,
    complete_graph,
    make_scene,
    oracle_canonicals,
    oracle_edges,
    oracle_matches,
)
from mast3r_engine.evaluation.trajectory import rotation_angle, trajectory_errors
from mast3r_engine.options import AlignmentOptions
from mast3r_engine.reconstruction import Alignment
from mast3r_engine.view_priors import ViewPriors

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PriorScene:
    """What alignment is given."""

    scene: OracleScene
    canonicals: list[CanonicalView | None]
    matches: list[PairMatches]
    edges: list[Any]

    @property
    def poses(self) -> Floats:  # (N, 4, 4)
        return np.stack([view.cam2world for view in self.scene.views])

    @property
    def focals(self) -> Floats:  # (N,)
        return np.array([view.K[0, 0] for view in self.scene.views])

    @property
    def none(self) -> ViewPriors:
        return ViewPriors.none(len(self.scene))

    def align(self, priors: ViewPriors | None = None, *, metric: bool = True) -> Alignment:
        return align_sparse(self.canonicals, self.matches, AlignmentOptions(), metric=metric, seed=0, priors=priors)

    def align_densely(self, priors: ViewPriors | None = None) -> Alignment:
        return align_dense(self.canonicals, self.edges, AlignmentOptions(), metric=True, seed=0, priors=priors)

    def rotation_error(self, found: Alignment) -> float:
        """Median degrees after the best similarity."""
        return trajectory_errors(found.cam2world, self.poses).rotation

    def ate(self, found: Alignment) -> float:
        """Metres after the best similarity."""
        return trajectory_errors(found.cam2world, self.poses).ate

    def offset(self, found: Alignment) -> float:
        """Root mean square metres between the centres as they stand, without any fit."""
        return float(np.sqrt(((found.cam2world - self.poses)[:, :3, 3] ** 2).sum(1).mean()))

    def turn(self, found: Alignment) -> float:
        """Median degrees between the orientations as they stand."""
        return float(np.median(rotation_angle(found.cam2world[:, :3, :3], self.poses[:, :3, :3])))


def prior_scene(
    views: int = 5, seed: int = 0, noise: OracleNoise | None = None, arc: float = 90.0, dense: bool = False
) -> PriorScene:
    """Make one; the same arguments always give the same."""
    scene, pairs, noise = make_scene(views, 80, 112, seed=seed, arc_degrees=arc), complete_graph(views), noise or OracleNoise()
    return PriorScene(
        scene,
        oracle_canonicals(scene, pairs, noise, seed=seed),
        oracle_matches(scene, pairs, noise, seed=seed),
        oracle_edges(scene, pairs, noise, seed=seed) if dense else [],
    )


def told(found: Alignment, view: int, prior: str) -> list[str]:
    """What was said against one prior of one view."""
    return [c["message"] for c in found.stats["contradictions"] if (c["view"], c["prior"]) == (view, prior)]
