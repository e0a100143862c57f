"""Priors as global alignment takes them: arrays over the N views, in network pixels; NaN where nothing is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MeasuredDepth:
    """A measured depth map of one view."""

    depth: NDArray[np.float32]  # (H, W) network pixels, z-depth, NaN = not known
    sigma: float  # relative standard deviation
    metric: bool  # False: right up to one factor


@dataclass(frozen=True)
class DistanceBetween:
    """A measured length between the centres of two views, or between what two of their pixels show."""

    first: int
    second: int
    metres: float
    sigma: float  # metres
    first_pixel: tuple[float, float] | None  # network pixels
    second_pixel: tuple[float, float] | None


@dataclass(frozen=True)
class Placing:
    """What to do with aligned components."""

    distances: Sequence[DistanceBetween] = ()
    factor: float = 1.0  # on all lengths
    gravity: Floats | None = None  # (N, 3) down, camera axes, NaN where not known
    ground_plane: bool = False
    up_axis: str = "z"


@dataclass(frozen=True)
class ViewPriors:
    """What is known about N views."""

    focal: Floats  # (N,) pixels
    focal_sigma: Floats  # (N,) relative; 0: held at `focal`; inf: `focal` is a start and nothing more
    principal_point: Floats  # (N, 2) pixels
    principal_sigma: Floats  # (N,) pixels; 0: held
    camera: NDArray[np.int64]  # (N,) views of one number have one focal length but for `zoom`
    zoom: Floats  # (N,) network pixels per original pixel
    pose: Floats  # (N, 4, 4) cam2world
    pose_covariance: Floats  # (N, 6, 6) position, then rotation vector, along the world's axes; zeros: fixed
    position: Floats  # (N, 3)
    position_sigma: Floats  # (N, 3)
    gravity: Floats  # (N, 3) pointing down, camera axes, unit length
    depth: list[MeasuredDepth | None]  # N

    @classmethod
    def none(cls, views: int) -> ViewPriors:
        """Nothing is known."""
        return cls(
            focal=np.full(views, np.nan),
            focal_sigma=np.full(views, np.nan),
            principal_point=np.full((views, 2), np.nan),
            principal_sigma=np.zeros(views),
            camera=np.arange(views),
            zoom=np.ones(views),
            pose=np.full((views, 4, 4), np.nan),
            pose_covariance=np.zeros((views, 6, 6)),
            position=np.full((views, 3), np.nan),
            position_sigma=np.full((views, 3), np.nan),
            gravity=np.full((views, 3), np.nan),
            depth=[None] * views,
        )

    def select(self, chosen: Sequence[int]) -> ViewPriors:
        """What is known about some of the views, in the order given."""
        arrays = {name: getattr(self, name)[list(chosen)] for name in self.__dataclass_fields__ if name != "depth"}
        return ViewPriors(**arrays, depth=[self.depth[k] for k in chosen])

    @property
    def posed(self) -> NDArray[np.bool_]:  # (N,)
        """Views with a pose prior."""
        return np.asarray(np.isfinite(self.pose).all(axis=(1, 2)))

    @property
    def pose_fixed(self) -> NDArray[np.bool_]:  # (N,)
        """Views whose pose does not move."""
        return np.asarray(self.posed & (self.pose_covariance == 0).all(axis=(1, 2)))

    @property
    def placed(self) -> NDArray[np.bool_]:  # (N,)
        """Views with a position prior and no pose prior."""
        return np.asarray(np.isfinite(self.position).all(axis=1) & ~self.posed)

    @property
    def levelled(self) -> NDArray[np.bool_]:  # (N,)
        """Views whose gravity says something in the frame: that of positions, whose z points up; poses have any frame."""
        known = np.isfinite(self.gravity).all(axis=1)
        return np.asarray(known & bool(self.placed.any()) & (not self.posed.any()))
