"""A photograph as the network sees it, and the exact map between its pixels and the original's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.lens import Lens
from mast3r_engine.view_priors import MeasuredDepth


@dataclass(frozen=True)
class ImageGeometry:
    """How an upright original (after EXIF rotation) became the network's image: resize, then crop.

    Pixel centres are at integers in both images (OpenCV).
    """

    original_width: int
    original_height: int
    resized_width: int
    resized_height: int
    left: int  # crop offset inside the resized image
    top: int
    width: int  # network image
    height: int

    @property
    def scale(self) -> tuple[float, float]:
        """Original pixels per network pixel, (x, y)."""
        return self.original_width / self.resized_width, self.original_height / self.resized_height

    def to_original(
        self,
        xy: NDArray[np.floating],  # (..., 2) network pixels
    ) -> NDArray[np.float64]:  # (..., 2) original pixels
        """Map network pixels to original pixels."""
        offset = np.array([self.left + 0.5, self.top + 0.5])
        original: NDArray[np.float64] = (np.asarray(xy, np.float64) + offset) * np.array(self.scale) - 0.5
        return original

    def to_network(
        self,
        xy: NDArray[np.floating],  # (..., 2) original pixels
    ) -> NDArray[np.float64]:  # (..., 2) network pixels
        """Map original pixels to network pixels; the inverse of `to_original`."""
        offset = np.array([self.left + 0.5, self.top + 0.5])
        network: NDArray[np.float64] = (np.asarray(xy, np.float64) + 0.5) / np.array(self.scale) - offset
        return network

    def intrinsics_to_original(
        self,
        K: NDArray[np.floating],  # (3, 3) at network size
    ) -> NDArray[np.float64]:  # (3, 3) at original size
        """Carry a pinhole matrix from network pixels to original pixels."""
        sx, sy = self.scale
        cx, cy = self.to_original(np.array([K[0, 2], K[1, 2]]))
        return np.array([[K[0, 0] * sx, K[0, 1] * sx, cx], [0.0, K[1, 1] * sy, cy], [0.0, 0.0, 1.0]])

    def intrinsics_to_network(
        self,
        K: NDArray[np.floating],  # (3, 3) at original size
    ) -> NDArray[np.float64]:  # (3, 3) at network size
        """Carry a pinhole matrix from original pixels to network pixels."""
        sx, sy = self.scale
        cx, cy = self.to_network(np.array([K[0, 2], K[1, 2]]))
        return np.array([[K[0, 0] / sx, K[0, 1] / sx, cx], [0.0, K[1, 1] / sy, cy], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class View:
    """One photograph, ready for the network."""

    name: str
    pixels: NDArray[np.uint8]  # (H, W, 3) RGB at network size
    geometry: ImageGeometry
    exif_orientation: int = 1
    exif_focal: float | None = None  # original pixels, from the 35 mm equivalent; a hint, not a calibration
    exif_time: datetime | None = None  # when it was taken, by the camera's clock
    lens: Lens | None = None  # the known camera of the original; the pixels here are those of `lens.undistorted_K`
    usable: NDArray[np.bool_] | None = None  # (H, W) what a mask lets through and the lens saw; None: everything
    measured_depth: MeasuredDepth | None = None
