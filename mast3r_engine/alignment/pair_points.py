"""What ties a pair of images: points that both know, in both frames and both images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.canonical_view import CanonicalView
from mast3r_engine.correspondences import PairMatches

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

MOST_TRUST = 20.0  # geometric mean of network confidences beyond which more means nothing


@dataclass(frozen=True)
class PairPoints:
    """M points known to images i and j; network pixels, centres at integers; each frame in its canonical view's scale."""

    i: int
    j: int
    xy_i: Floats  # (M, 2)
    xy_j: Floats  # (M, 2)
    points_i: Floats  # (M, 3) in the frame of i
    points_j: Floats  # (M, 3) in the frame of j
    conf: Floats  # (M,) only its order matters
    trust: Floats  # (M,) weights in space, from network confidences
    forward: Booleans  # (M,) xy_i is a pixel whose depth is known: it can be projected into j
    backward: Booleans  # (M,) xy_j is a pixel whose depth is known

    def __len__(self) -> int:
        return len(self.conf)


def lift_matches(view_i: CanonicalView, view_j: CanonicalView, matches: PairMatches) -> PairPoints:
    """Look the matched pixels up in both canonical views."""
    points_i, conf_i = _look_up(view_i, matches.xy_i)
    points_j, conf_j = _look_up(view_j, matches.xy_j)
    both = np.ones(len(matches), bool)
    return PairPoints(
        i=matches.i,
        j=matches.j,
        xy_i=matches.xy_i.astype(np.float64),
        xy_j=matches.xy_j.astype(np.float64),
        points_i=points_i,
        points_j=points_j,
        conf=np.nan_to_num(matches.conf.astype(np.float64)),
        trust=np.minimum(np.sqrt(conf_i * conf_j), MOST_TRUST),
        forward=both,
        backward=both,
    )


def swap_sides(p: PairPoints) -> PairPoints:
    """The same points with i and j exchanged."""
    return PairPoints(p.j, p.i, p.xy_j, p.xy_i, p.points_j, p.points_i, p.conf, p.trust, p.backward, p.forward)


def _look_up(view: CanonicalView, xy: NDArray[np.int64]) -> tuple[Floats, Floats]:  # (M, 3), (M,)
    place = np.ravel_multi_index((xy[:, 1], xy[:, 0]), view.conf.shape)  # refuses pixels outside
    return view.points.reshape(-1, 3).take(place, axis=0).astype(np.float64), view.conf.ravel().take(place).astype(np.float64)
