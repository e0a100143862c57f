"""Lenses by COLMAP's model names: from rays to the original's pixels and back.

Pixels of the upright original, pixel centres at INTEGERS; COLMAP puts the corner of the top-left pixel at (0, 0), so that its
principal points are half a pixel larger. Distortion formulas: OpenCV's documentation of calib3d and of its fisheye module.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.errors import PriorsError

Floats = NDArray[np.float64]

PARAMETERS: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
}
SHORTEST_FOCAL, LONGEST_FOCAL = 0.1, 50.0  # of the longer side
INVERSION_STEPS = 20
INVERTED = 1e-9  # normalised coordinates: what an inverted ray may be off
SQUARE = 5e-4  # ratio of the focal lengths below which a pixel is as good as square
WIDEST_FISHEYE = np.pi / 2 - 1e-3  # radians off the axis: a pinhole has no picture of more


@dataclass(frozen=True)
class Lens:
    """A calibrated camera; PriorsError when the model is not known or the numbers cannot be a camera's."""

    model: str
    params: tuple[float, ...]  # as in PARAMETERS
    width: int  # of the upright original, pixels
    height: int

    def __post_init__(self) -> None:
        if self.model not in PARAMETERS:
            raise PriorsError(f"camera model is {self.model!r}; known: {', '.join(PARAMETERS)}")
        object.__setattr__(self, "params", tuple(float(value) for value in self.params))
        names = PARAMETERS[self.model]
        if len(self.params) != len(names) or not np.isfinite(self.params).all():
            raise PriorsError(f"{self.model} has {list(self.params)}; it takes {len(names)} finite numbers: {', '.join(names)}")
        if self.width < 1 or self.height < 1:
            raise PriorsError(f"camera is {self.width}x{self.height} pixels; both must be 1 or more")
        self._check_focals()
        self._check_principal_point()

    @property
    def focals(self) -> tuple[float, float]:
        """Focal lengths (fx, fy), pixels."""
        return (self.params[0], self.params[0]) if PARAMETERS[self.model][0] == "f" else (self.params[0], self.params[1])

    @property
    def principal_point(self) -> tuple[float, float]:
        """Pixels (x, y), pixel centres at integers."""
        first = PARAMETERS[self.model].index("cx")
        return self.params[first], self.params[first + 1]

    @property
    def distortion(self) -> tuple[float, ...]:
        """Coefficients in the model's order; none for a pinhole."""
        return self.params[PARAMETERS[self.model].index("cy") + 1 :]

    @property
    def is_pinhole(self) -> bool:
        """Whether straight lines are straight; a fisheye's are not, whatever its coefficients."""
        return self.model != "OPENCV_FISHEYE" and not any(self.distortion)

    @property
    def undistorted_K(self) -> Floats:  # (3, 3)
        """Pinhole matrix of the undistorted photograph: of the same size, its pixels square."""
        (fx, fy), (cx, cy) = self.focals, self.principal_point
        fx, fy = (fx, fy) if self.needs_no_resampling else (float(np.sqrt(fx * fy)),) * 2
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    @property
    def needs_no_resampling(self) -> bool:
        """Whether the photograph is already that of a pinhole with square pixels."""
        return self.is_pinhole and abs(self.focals[0] / self.focals[1] - 1) < SQUARE

    @property
    def K(self) -> Floats:  # (3, 3)
        """Pinhole matrix without the distortion."""
        (fx, fy), (cx, cy) = self.focals, self.principal_point
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    def scaled_focals(self, factor: float, shift: tuple[float, float] = (0.0, 0.0)) -> Lens:
        """The lens with its focal lengths multiplied and its principal point moved; the distortion stays."""
        names = PARAMETERS[self.model]
        moved = {"f": factor, "fx": factor, "fy": factor}
        added = {"cx": shift[0], "cy": shift[1]}
        values = (value * moved.get(name, 1.0) + added.get(name, 0.0) for name, value in zip(names, self.params, strict=True))
        return replace(self, params=tuple(values))

    def project(
        self,
        rays: Floats,  # (..., 3) camera axes, z > 0
    ) -> Floats:  # (..., 2) pixels
        """Where the lens sees a ray."""
        flat = rays[..., :2] / rays[..., 2:]
        xy: Floats = self._distort(flat) * np.array(self.focals) + np.array(self.principal_point)
        return xy

    def unproject(
        self,
        xy: Floats,  # (..., 2) pixels
    ) -> Floats:  # (..., 2) normalised coordinates x/z, y/z; NaN where no ray in front of the camera falls there
        """The ray of a pixel, by Newton's method on the distortion."""
        wanted = (np.asarray(xy, np.float64) - np.array(self.principal_point)) / np.array(self.focals)
        if self.model == "OPENCV_FISHEYE":
            return self._undistort_fisheye(wanted)
        flat = wanted.copy()
        for _ in range(INVERSION_STEPS):
            flat = flat - np.linalg.solve(self._slope(flat), (self._distort(flat) - wanted)[..., None])[..., 0]
        reached = np.abs(self._distort(flat) - wanted).max(-1) < INVERTED
        return np.where((reached & self._unfolded(flat))[..., None], flat, np.nan)

    def sees(
        self,
        rays: Floats,  # (..., 3) camera axes, z > 0
    ) -> NDArray[np.bool_]:  # (...,)
        """Whether a ray falls into the photograph, and not only because the distortion's polynomial turns back far outside."""
        flat = rays[..., :2] / rays[..., 2:]
        xy = self.project(rays)
        inside = ((xy >= -0.5) & (xy <= np.array([self.width, self.height]) - 0.5)).all(-1)
        return np.asarray(inside & (True if self.model == "OPENCV_FISHEYE" else self._unfolded(flat)))

    def _distort(self, flat: Floats) -> Floats:  # (..., 2)
        if self.model == "OPENCV_FISHEYE":
            r = np.linalg.norm(flat, axis=-1, keepdims=True)
            theta = np.arctan(r)
            return flat * np.where(r > 1e-12, self._fisheye_angle(theta) / np.maximum(r, 1e-12), 1.0)
        k1, k2, p1, p2 = self._polynomial()
        x, y = flat[..., 0], flat[..., 1]
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * k2)
        return np.stack(
            [x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + 2 * p2 * x * y + p1 * (r2 + 2 * y * y)], axis=-1
        )

    def _slope(self, flat: Floats) -> Floats:  # (..., 2, 2) derivative of `_distort`
        k1, k2, p1, p2 = self._polynomial()
        x, y = flat[..., 0], flat[..., 1]
        r2 = x * x + y * y
        radial, steep = 1 + r2 * (k1 + r2 * k2), 2 * (k1 + 2 * k2 * r2)
        mixed = x * y * steep + 2 * p1 * x + 2 * p2 * y
        xx = radial + x * x * steep + 2 * p1 * y + 6 * p2 * x
        yy = radial + y * y * steep + 2 * p2 * x + 6 * p1 * y
        return np.stack([np.stack([xx, mixed], axis=-1), np.stack([mixed, yy], axis=-1)], axis=-2)

    def _unfolded(self, flat: Floats) -> NDArray[np.bool_]:  # (...,)
        """Whether the distortion still grows outwards here; beyond that radius it maps two rays onto one pixel."""
        k1, k2, _, _ = self._polynomial()
        r2 = (flat**2).sum(-1)
        inner = np.linspace(0.0, 1.0, 9)[:, None] * np.asarray(r2).reshape(1, -1)
        grows: NDArray[np.bool_] = (1 + inner * (3 * k1 + inner * 5 * k2) > 0).all(0).reshape(np.shape(r2))
        return grows

    def _polynomial(self) -> tuple[float, float, float, float]:
        k1, k2, p1, p2 = (*self.distortion, 0.0, 0.0, 0.0, 0.0)[:4]
        return k1, k2, p1, p2

    def _fisheye_angle(self, theta: Floats) -> Floats:
        k1, k2, k3, k4 = self.distortion
        t2 = theta * theta
        return theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))

    def _undistort_fisheye(self, wanted: Floats) -> Floats:
        k1, k2, k3, k4 = self.distortion
        seen = np.linalg.norm(wanted, axis=-1, keepdims=True)
        theta = np.minimum(seen, WIDEST_FISHEYE)
        for _ in range(INVERSION_STEPS):
            t2 = theta * theta
            slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
            step = (self._fisheye_angle(theta) - seen) / np.where(np.abs(slope) > 1e-6, slope, 1e-6)
            theta = np.clip(theta - step, 0.0, WIDEST_FISHEYE)
        reached = np.abs(self._fisheye_angle(theta) - seen) < INVERTED
        return np.where(reached, wanted * np.where(seen > 1e-12, np.tan(theta) / np.maximum(seen, 1e-12), 1.0), np.nan)

    def _check_focals(self) -> None:
        longest = max(self.width, self.height)
        least, most = SHORTEST_FOCAL * longest, LONGEST_FOCAL * longest
        if not least <= min(self.focals) <= max(self.focals) <= most:
            raise PriorsError(
                f"focal lengths {self.focals} do not fit photographs of {self.width}x{self.height} pixels; they are in pixels of "
                f"the upright original, between {least:g} and {most:g}"
            )
        if not 0.5 <= self.focals[0] / self.focals[1] <= 2:
            raise PriorsError(f"focal lengths {self.focals} differ by more than a factor of 2; pixels are nearly square")

    def _check_principal_point(self) -> None:
        cx, cy = self.principal_point
        if not (-0.5 <= cx <= self.width - 0.5 and -0.5 <= cy <= self.height - 0.5):
            raise PriorsError(
                f"principal point ({cx:g}, {cy:g}) lies outside the photograph of {self.width}x{self.height} pixels; give it in "
                "pixels of the upright original"
            )
