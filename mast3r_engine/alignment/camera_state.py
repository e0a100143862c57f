"""The unknowns of the 2D stage, and what is known about them beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mast3r_engine.alignment.known_cameras import KnownCameras

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ReprojectionOptions:
    """Weights of what is known beforehand, and when to stop."""

    max_steps: int = 30
    focal_sigma: float = 0.03  # of the logarithm, around the canonical view's fit
    depth_sigma: float = 0.10  # of the logarithm of an anchor's depth, around the canonical depth times the image's size
    size_sigma: float = 0.10  # of the logarithm of an image's size, around the 3D stage's
    shared_focal: bool = False
    principal_sigma: float | None = None  # pixels, around the first principal point; None: it does not move
    known: KnownCameras | None = None  # about single cameras; its principal points' sigmas come before `principal_sigma`

    def principal_sigmas(self, views: int) -> Floats:  # (N,)
        """Of each view, pixels; 0 where the principal point does not move."""
        common = np.full(views, self.principal_sigma or 0.0)
        if self.known is None:
            return common
        own = self.known.views.principal_sigma
        return np.where(np.isfinite(self.known.views.principal_point).all(1), own, common)

    @property
    def move_principal_points(self) -> bool:
        """Whether any view's principal point is refined."""
        return self.principal_sigma is not None or (self.known is not None and bool((self.known.views.principal_sigma > 0).any()))


@dataclass(frozen=True)
class CameraState:
    """Cameras and depths of one component."""

    rotation: Floats  # (N, 3, 3) world <- camera
    centre: Floats  # (N, 3)
    log_focal: Floats  # (N,)
    principal_shift: Floats  # (N, 2) pixels, from the canonical view's principal point
    log_size: Floats  # (N,) of the canonical depths
    log_depth: Floats  # (A,) of the anchors
    first_log_size: Floats  # (N,) what the 3D stage found
