"""A wall seen from its front and from its back fits in space, and still is no pair."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mast3r_engine.alignment import CanonicalAccumulator, CanonicalView
from mast3r_engine.alignment.pair_geometry import estimate_pair
from mast3r_engine.alignment.pair_points import lift_matches
from mast3r_engine.alignment.surface_facing import same_side
from mast3r_engine.correspondences import PairMatches

Floats = NDArray[np.float64]
H, W, FOCAL = 48, 64, 60.0
FRONT = np.eye(3)
BACK = np.diag([-1.0, 1.0, -1.0])  # half a turn around the vertical


def wall_view(rotation: Floats, centre: Floats) -> CanonicalView:
    """A camera that looks at the plane z = 2, from wherever it stands."""
    x, y = np.meshgrid(np.arange(W) - (W - 1) / 2, np.arange(H) - (H - 1) / 2)
    rays = np.stack([x / FOCAL, y / FOCAL, np.ones_like(x)], axis=-1)
    world = rays @ rotation.T
    depth = (2.0 - centre[2]) / world[..., 2]
    accumulator = CanonicalAccumulator(H, W, 8)
    accumulator.add((rays * depth[..., None]).astype(np.float32), np.full((H, W), 5.0, np.float32))
    return accumulator.finish()


def matched(view_i: CanonicalView, rotation: Floats, centre: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of camera i (at the origin) and the pixels of the other camera that see the same points of the plane."""
    y, x = (a.ravel() for a in np.mgrid[2:H:4, 2:W:4])
    local = (view_i.points[y, x].astype(np.float64) - centre) @ rotation
    xy = np.rint(local[:, :2] / local[:, 2:] * FOCAL + np.array([(W - 1) / 2, (H - 1) / 2])).astype(np.int64)
    inside = (xy >= 0).all(1) & (xy < [W, H]).all(1)
    return np.stack([x, y], axis=1)[inside], xy[inside]


@pytest.mark.parametrize(("rotation", "z", "holds"), [(FRONT, 0.2, True), (BACK, 4.2, False)], ids=["same side", "back"])
def test_a_wall_from_behind_is_no_pair(rotation: Floats, z: float, holds: bool) -> None:
    origin, centre = np.zeros(3), np.array([0.1, 0.05, z])
    view_i, view_j = wall_view(FRONT, origin), wall_view(rotation, centre)
    xy_i, xy_j = matched(view_i, rotation, centre)
    assert len(xy_i) > 100
    matches = PairMatches(0, 1, xy_i, xy_j, np.ones(len(xy_i), np.float32))
    facing = same_side(view_i, view_j, xy_i.astype(float), xy_j.astype(float), rotation.T)
    assert facing == pytest.approx(1.0 if holds else -1.0, abs=0.01)
    pair = estimate_pair(view_i, view_j, lift_matches(view_i, view_j, matches), min_inliers=24, seed=0)
    if holds:
        assert not isinstance(pair, str)
        assert pair.support > 100
    else:
        assert pair == "the matched surfaces face opposite ways"


def test_no_matches_say_nothing() -> None:
    view = wall_view(FRONT, np.zeros(3))
    assert same_side(view, view, np.zeros((0, 2)), np.zeros((0, 2)), np.eye(3)) == 0.0
