"""The flat arrays that go into the op and come out of it.

A directed pair (source, target) holds matches whose source pixel has a depth; a group is the run of one directed pair's matches
that share one depth (one anchor of the source image). Matches are sorted by pair, then by group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CAMERA_COLUMNS = 8  # rotation 3, translation 3 of the relative pose; log focal of source and of target
PRINCIPAL_COLUMNS = 4  # principal point of source (x, y) and of target (x, y), pixels


@dataclass(frozen=True)
class DirectedMatches:
    """M matches in P directed pairs and G groups; C-contiguous."""

    pair_start: Integers  # (P + 1,) first match of each pair
    pair_group_start: Integers  # (P + 1,) first group of each pair
    group_start: Integers  # (G + 1,) first match of each group
    source_xy: Floats  # (2, M) pixels minus the source's first principal point
    target_xy: Floats  # (2, M) pixels minus the target's first principal point
    offset: Floats  # (M,) depth relative to the group's depth


@dataclass(frozen=True)
class RelativeCameras:
    """What the residuals of P pairs and G groups are evaluated at: Y = rotation X + translation."""

    rotation: Floats  # (P, 3, 3) target <- source
    translation: Floats  # (P, 3)
    source_focal: Floats  # (P,)
    target_focal: Floats  # (P,)
    source_shift: Floats  # (P, 2) principal point minus the first one, pixels
    target_shift: Floats  # (P, 2)
    depth: Floats  # (G,) of each group's anchor


@dataclass(frozen=True)
class PairBlocks:
    """Gauss-Newton sums; C columns of a pair: rotation (3) and translation (3) applied left, log f source, log f target.

    With principal points four more follow. The last column of `groups` is the gradient by the group's log-depth, the one before
    its curvature, the others the coupling.
    """

    normal: Floats  # (P, C, C)
    gradient: Floats  # (P, C)
    groups: Floats  # (G, C + 2)
    squared_error: Floats  # (M,) pixels squared, unweighted; HIDDEN where the point is not in front of the target
