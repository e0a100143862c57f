"""Photographs of queries and references: judged by their headers, together with the cameras that are said to have taken them."""

from __future__ import annotations

import io

from services.adapters.settings import Settings
from services.api.photos import PhotoHeader, UnusablePhotoError, inspect_photo
from services.api.problems import ProblemError, invalid_field
from services.contract.codes import ProblemCode
from services.contract.jobs import SIDEWAYS
from services.contract.localisation import CameraIntrinsics

FOCAL_RANGE = (0.1, 50.0)  # of the longer side; the engine's own limits


def check_photo(
    data: bytes, pointer: str, settings: Settings, intrinsics: CameraIntrinsics | None, camera_pointer: str
) -> PhotoHeader:
    """Let a photograph pass that can be decoded and that its camera can have taken.

    Raises:
        ProblemError: 422 invalid_image or invalid_intrinsics.
    """
    try:
        header = inspect_photo(io.BytesIO(data), settings.max_photo_pixels)
    except UnusablePhotoError as error:
        raise invalid_field(pointer, str(error), ProblemCode.INVALID_IMAGE) from None
    if intrinsics is not None:
        size = (header.width, header.height)
        _check_camera(intrinsics, *(size[::-1] if header.orientation in SIDEWAYS else size), camera_pointer)
    return header


def _check_camera(camera: CameraIntrinsics, width: int, height: int, pointer: str) -> None:
    said = (camera.width, camera.height)
    if said not in ((None, None), (width, height)):
        raise _invalid(
            f"{pointer}/width",
            f"the camera takes photographs of {said[0]} x {said[1]} pixels and this one has {width} x {height} "
            "(upright, after EXIF rotation); scale the intrinsics to the photograph",
        )
    low, high = (factor * max(width, height) for factor in FOCAL_RANGE)
    for name, focal in (("fx", camera.fx), ("fy", camera.fy)):
        if not low <= focal <= high:
            detail = f"{focal:g} pixels; for {width} x {height} pixels it must lie between {low:g} and {high:g}"
            raise _invalid(f"{pointer}/{name}", detail)
    for name, centre, size in (("cx", camera.cx, width), ("cy", camera.cy, height)):
        if not -0.5 <= centre <= size - 0.5:
            detail = f"{centre:g}: the principal point lies outside the photograph of {width} x {height} pixels"
            raise _invalid(f"{pointer}/{name}", detail)


def _invalid(pointer: str, message: str) -> ProblemError:
    return invalid_field(pointer, message, ProblemCode.INVALID_INTRINSICS)
