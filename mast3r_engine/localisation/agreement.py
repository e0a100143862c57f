"""One robust residual to judge every candidate pose: reprojection in both directions, with room for the depths' errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.localisation.observation import PairObservation
from mast3r_engine.localisation.pose_model import Noise, whitened_square
from mast3r_engine.localisation.reprojection import Direction, query_to_reference, reference_to_query

Floats = NDArray[np.float64]

CHI2_99 = 9.21  # two degrees of freedom
DEPTH_ROOM = 0.05  # relative depth error that a right pose may meet before the depths are corrected
GATE = 2.5  # times the inlier tolerance: what refinement still looks at


@dataclass(frozen=True)
class Agreement:
    """How well a pose explains the matches."""

    squared: Floats  # (2, M) whitened squared residuals of both directions; 9.21 is the limit of an inlier

    @property
    def score(self) -> float:
        """Truncated gain: between 0 and the number of matches."""
        return float(np.maximum(0.0, 1.0 - self.squared / CHI2_99).mean(axis=0).sum())

    @property
    def inliers(self) -> NDArray[np.bool_]:  # (M,) in both directions
        """Matches that agree in both directions."""
        agree: NDArray[np.bool_] = np.all(self.squared < CHI2_99, axis=0)
        return agree

    @property
    def gate(self) -> NDArray[np.bool_]:  # (M,)
        """Matches near enough for refinement."""
        near: NDArray[np.bool_] = np.all(self.squared < CHI2_99 * GATE**2, axis=0)
        return near

    @property
    def one_sided(self) -> float:
        """Of the matches that agree in a direction, the fraction that does not in the other."""
        agrees = self.squared < CHI2_99
        either = int(agrees.any(axis=0).sum())
        return 1.0 - float(agrees.all(axis=0).sum()) / either if either else 0.0


def judge_pose(
    pair: PairObservation,
    pose: Floats,  # (4, 4) query2reference
    inlier_pixels: float,
    depth_room: float = DEPTH_ROOM,
) -> Agreement:
    """Judge a pose with the depths as they came."""
    zeros, none = np.zeros(len(pair)), np.zeros(2)
    directions = reference_to_query(pair, pose, none, zeros), query_to_reference(pair, pose, none, zeros)
    return judge_directions(directions, inlier_pixels, depth_room)


def judge_directions(directions: tuple[Direction, Direction], inlier_pixels: float, depth_room: float) -> Agreement:
    """Judge residuals that are there already."""
    noise = Noise(inlier_pixels / np.sqrt(CHI2_99), depth_room, 1.0, 1.0, (0.0, 0.0))
    return Agreement(np.stack([whitened_square(direction, noise) for direction in directions]))
