"""The camera of a photograph: given, from EXIF, or read off the point map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mast3r_engine.alignment.focal_fit import fit_focal
from mast3r_engine.errors import IntrinsicsError
from mast3r_engine.views import ImageGeometry

Floats = NDArray[np.float64]
IntrinsicsSource = Literal["given", "exif", "estimated"]

EXIF_AGREEMENT = 0.2  # relative; an EXIF focal length further than that from the point map's is taken for wrong (cropped photo)
FOCAL_SIGMA: dict[IntrinsicsSource, float] = {"given": 0.0, "exif": 0.02, "estimated": 0.01}  # relative standard deviations


@dataclass(frozen=True)
class PinholeCamera:
    """A pinhole camera and the size of its images; pixels of the upright original, pixel centres at integers."""

    K: Floats  # (3, 3)
    width: int
    height: int


@dataclass(frozen=True)
class Intrinsics:
    """The camera that was used for one photograph."""

    K: Floats  # (3, 3) pixels of the upright original
    source: IntrinsicsSource

    @property
    def focal_sigma(self) -> float:
        """Relative standard deviation of the focal length."""
        return FOCAL_SIGMA[self.source]


CameraLike = PinholeCamera | ArrayLike  # (3, 3) or a camera that also says its image size


def check_camera(
    camera: CameraLike,
    name: str,
    geometry: ImageGeometry,
) -> Floats:  # (3, 3) pixels of the upright original
    """Refuse cameras that cannot have taken a photograph; `name` is the photograph's.

    IntrinsicsError for another shape, NaN, focal lengths that are not positive or absurd, skew, a principal point outside the
    image, or a camera whose image has another size than the photograph.
    """
    if isinstance(camera, PinholeCamera):
        _check_size(camera, name, geometry)
    K = _as_matrix(camera.K if isinstance(camera, PinholeCamera) else camera, name)
    width, height = geometry.original_width, geometry.original_height
    focals = (float(K[0, 0]), float(K[1, 1]))
    if min(focals) <= 0:
        raise IntrinsicsError(f"{name}: focal lengths are {focals} pixels; they must be positive")
    longest = max(width, height)
    if not 0.1 * longest <= min(focals) <= max(focals) <= 50 * longest:
        raise IntrinsicsError(
            f"{name}: focal lengths {focals} do not fit an image of {width}x{height} pixels; "
            f"they must lie between {0.1 * longest:g} and {50 * longest:g} pixels"
        )
    if not (-0.5 <= K[0, 2] <= width - 0.5 and -0.5 <= K[1, 2] <= height - 0.5):
        raise IntrinsicsError(
            f"{name}: principal point ({K[0, 2]:g}, {K[1, 2]:g}) lies outside the image of {width}x{height} pixels; "
            "give it in pixels of the upright original"
        )
    return K


def choose_intrinsics(
    given: CameraLike | None,
    name: str,
    geometry: ImageGeometry,
    exif_focal: float | None,  # original pixels
    points: Floats,  # (H, W, 3) point map in the photograph's own frame
    confidence: Floats,  # (H, W) > 1
) -> Intrinsics:
    """Take the given camera, else EXIF's focal length where the point map does not contradict it, else the point map's."""
    if given is not None:
        return Intrinsics(check_camera(given, name, geometry), "given")
    estimated = _estimate(points, confidence)
    focal = geometry.intrinsics_to_original(estimated)[0, 0]
    if exif_focal is not None and abs(np.log(exif_focal / focal)) < np.log1p(EXIF_AGREEMENT):
        centre = ((geometry.original_width - 1) / 2, (geometry.original_height - 1) / 2)
        return Intrinsics(np.array([[exif_focal, 0, centre[0]], [0, exif_focal, centre[1]], [0, 0, 1.0]]), "exif")
    return Intrinsics(geometry.intrinsics_to_original(estimated), "estimated")


def _estimate(points: Floats, confidence: Floats) -> Floats:  # (3, 3) network pixels
    height, width = confidence.shape
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    y, x = np.mgrid[2:height:4, 2:width:4]
    sampled = points[y, x].reshape(-1, 3)
    pixels = np.stack([x.ravel(), y.ravel()], axis=1) - centre
    focal = fit_focal(sampled, pixels, np.maximum(confidence[y, x].ravel() - 1, 1e-3), max(height, width))
    return np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1.0]])


def _check_size(camera: PinholeCamera, name: str, geometry: ImageGeometry) -> None:
    said, found = (camera.width, camera.height), (geometry.original_width, geometry.original_height)
    if said != found:
        raise IntrinsicsError(
            f"{name}: the camera takes images of {said[0]}x{said[1]} pixels and this one has {found[0]}x{found[1]} "
            "(upright, after EXIF rotation); scale the intrinsics to the photograph"
        )


def _as_matrix(given: ArrayLike, name: str) -> Floats:
    try:
        K = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise IntrinsicsError(f"{name}: intrinsics are {given!r}; they must be a 3x3 matrix of numbers") from None
    if K.shape != (3, 3) or not np.isfinite(K).all():
        raise IntrinsicsError(f"{name}: intrinsics are {K.tolist()!r}; they must be a finite 3x3 matrix")
    if abs(K[1, 0]) + abs(K[2, 0]) + abs(K[2, 1]) > 1e-9 or abs(K[2, 2] - 1) > 1e-9 or abs(K[0, 1]) > 1e-3 * abs(K[0, 0]):
        raise IntrinsicsError(f"{name}: intrinsics are {K.tolist()}; they must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]")
    return K
