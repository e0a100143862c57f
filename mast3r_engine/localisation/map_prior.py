"""Where the query is believed to be, in a map's frame; and which of the map's photographs could share its view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mast3r_engine.errors import OptionsError
from mast3r_engine.localisation.scene_map import MapPhoto

Floats = NDArray[np.float64]

HALF_VIEW = 45.0  # degrees from the query's axis that a point may lie; wider cameras are rare and the prior is inflated anyway
TURN = 75.0  # degrees between the rays of query and photograph to a point beyond which no match is expected
ZOOM = 4.0  # ratio of their distances to a point beyond which no match is expected
SHARED_VIEW = 0.1  # of a photograph's points; fewer, and it is not searched


@dataclass(frozen=True)
class MapPrior:
    """A sphere that holds the query's camera centre, and where it looks, if that is known too."""

    position: Floats  # (3,) map frame
    radius: float  # the map's unit of length
    rotation: Floats | None = None  # (3, 3) camera to map
    degrees: float = 30.0  # how far the true orientation may be from `rotation`

    def __post_init__(self) -> None:
        if not np.isfinite(self.position).all() or np.shape(self.position) != (3,):
            raise OptionsError(f"prior position is {np.asarray(self.position).tolist()}; it must be three finite numbers")
        if not (np.isfinite(self.radius) and self.radius > 0):
            raise OptionsError(f"prior radius is {self.radius}; it must be above 0")
        if not 0 < self.degrees <= 180:
            raise OptionsError(f"prior degrees is {self.degrees}; it must be above 0, up to 180")

    @classmethod
    def at(cls, position: ArrayLike, radius: float) -> MapPrior:
        """A position (3,) alone. OptionsError for what is no position or radius."""
        return cls(np.asarray(position, np.float64), float(radius))

    @classmethod
    def near(cls, cam2map: ArrayLike, radius: float, degrees: float = 30.0) -> MapPrior:
        """A pose (4, 4), such as the last one or odometry's. OptionsError for what is no rigid motion."""
        pose = np.asarray(cam2map, np.float64)
        if pose.shape != (4, 4) or not np.isfinite(pose).all() or np.abs(pose[:3, :3] @ pose[:3, :3].T - np.eye(3)).max() > 1e-3:
            raise OptionsError(f"prior pose is {pose.tolist()}; it must be a rigid motion, camera to map, 4x4")
        return cls(pose[:3, 3].copy(), float(radius), pose[:3, :3].copy(), float(degrees))


def shared_view(prior: MapPrior, photo: MapPhoto) -> float:
    """Fraction of a photograph's points that a query within the prior could see, from not too different a place."""
    points = photo.sample_points()
    if len(points) == 0:
        return 0.0
    to_query, to_photo = points - prior.position, points - photo.cam2map[:3, 3]
    far = np.linalg.norm(to_query, axis=1)
    # A centre anywhere in the sphere turns the ray to a point by up to this much, and moves it nearer or farther.
    slack = np.where(far > prior.radius, np.degrees(np.arcsin(np.minimum(prior.radius / np.maximum(far, 1e-12), 1.0))), 180.0)
    near_enough = (far - prior.radius < ZOOM * _length(to_photo)) & (far + prior.radius > _length(to_photo) / ZOOM)
    seen = near_enough & (_angle(to_query, to_photo) <= TURN + slack)
    if prior.rotation is not None:
        seen &= _angle(to_query, np.broadcast_to(prior.rotation[:, 2], to_query.shape)) <= HALF_VIEW + prior.degrees + slack
    return float(seen.mean())


def _length(vectors: Floats) -> Floats:  # (n, 3) -> (n,)
    lengths: Floats = np.linalg.norm(vectors, axis=1)
    return lengths


def _angle(a: Floats, b: Floats) -> Floats:  # (n, 3) twice -> (n,) degrees
    angles: Floats = np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), (a * b).sum(axis=1)))
    return angles
