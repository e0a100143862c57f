"""Priors as plain values: what `cameras.json` and `PUT /captures/{id}/cameras` hold (docs/priors.md has the form).

Masks and depth maps are images of their own and do not stand in the document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from mast3r_engine.errors import PriorsError
from mast3r_engine.geodesy import GpsFix, to_local_metres
from mast3r_engine.lens import Lens
from mast3r_engine.priors import (
    CameraPrior,
    DepthPrior,
    KnownDistance,
    KnownScale,
    Mask,
    PosePrior,
    PositionPrior,
    Priors,
    UpDirection,
)

T = TypeVar("T")

DOCUMENT = ("schema_version", "photos", "shared_cameras", "exif_focal_sigma", "distances", "scale", "up", "gps_origin")
PHOTO = ("camera", "pose", "position", "gps", "gravity", "timestamp")
CAMERA = ("model", "params", "width", "height", "mode", "focal_sigma", "principal_sigma")
DISTANCE = ("first", "second", "metres", "sigma", "first_pixel", "second_pixel")


def priors_from_document(
    document: Mapping[str, Any],
    masks: Mapping[str, Mask] | None = None,
    depths: Mapping[str, DepthPrior] | None = None,
) -> Priors:
    """Build priors; PriorsError names the photograph and the field that is unknown, missing or impossible."""
    _check_fields("cameras document", document, DOCUMENT)
    if document.get("schema_version", 1) != 1:
        raise PriorsError(f"schema_version is {document['schema_version']!r}; it must be 1")
    photos = _object("photos", document.get("photos") or {})
    for name, photo in photos.items():
        _check_fields(name, photo, PHOTO)
        if photo.get("position") is not None and photo.get("gps") is not None:
            raise PriorsError(f"{name} has a position and a gps; give one of them")
    positions, origin = _positions(photos, document.get("gps_origin"))
    return Priors(
        cameras=_each(photos, "camera", _camera),
        shared_cameras=_groups(document.get("shared_cameras")),
        exif_focal_sigma=document.get("exif_focal_sigma"),
        poses=_each(photos, "pose", _pose),
        positions=positions,
        gps_origin=origin,
        distances=list(_each(_numbered(document.get("distances")), "distance", _distance).values()),
        scale=None if document.get("scale") is None else KnownScale(**_fields("scale", document["scale"], ("factor",))),
        up=_up(photos, document.get("up")),
        timestamps=_each(photos, "timestamp", lambda seconds: seconds),
        masks=masks or {},
        depths=depths or {},
    )


def _camera(values: Any) -> CameraPrior:
    fields = _fields("camera", values, CAMERA)
    lens = Lens(*(_required("camera", fields, name) for name in ("model", "params", "width", "height")))
    return CameraPrior(lens, **{name: fields[name] for name in CAMERA[4:] if name in fields})


def _pose(values: Any) -> PosePrior:
    fields = _fields("pose", values, ("cam2world", "covariance"))
    return PosePrior(_required("pose", fields, "cam2world"), fields.get("covariance"))


def _positions(photos: Mapping[str, Any], given: Any) -> tuple[dict[str, PositionPrior], GpsFix | None]:
    """Local positions as they are, GPS fixes converted about one origin."""
    positions = _each(photos, "position", _position)
    fixes = _each(photos, "gps", lambda values: _fix(values, ("latitude", "longitude", "altitude", "sigma")))
    if not fixes:
        return positions, None
    if positions:
        raise PriorsError(f"{next(iter(positions))} has a position and {next(iter(fixes))} a gps; give all in one way")
    origin = None if given is None else _fix(given, ("latitude", "longitude", "altitude"))
    metres, origin = to_local_metres(fixes, origin)
    sigmas = {name: _required(f"{name}: gps", photos[name]["gps"], "sigma") for name in fixes}
    return {name: PositionPrior(np.array(place), _sigma(sigmas[name])) for name, place in metres.items()}, origin


def _position(values: Any) -> PositionPrior:
    fields = _fields("position", values, ("metres", "sigma"))
    return PositionPrior(_required("position", fields, "metres"), _sigma(_required("position", fields, "sigma")))


def _fix(values: Any, known: tuple[str, ...]) -> GpsFix:
    fields = _fields("gps", values, known)
    numbers = [_required("gps", fields, "latitude"), _required("gps", fields, "longitude"), fields.get("altitude", 0.0)]
    if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in numbers):
        raise PriorsError(f"gps is {numbers}; it must be numbers: degrees, degrees, metres")
    return GpsFix(*numbers)


def _sigma(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _distance(values: Any) -> KnownDistance:
    fields = dict(_fields("distance", values, DISTANCE))
    for name in DISTANCE[:3]:
        _required("distance", fields, name)
    for name in DISTANCE[4:]:
        pixel = fields.get(name)
        if pixel is not None:
            if not (isinstance(pixel, list) and len(pixel) == 2 and all(isinstance(x, (int, float)) for x in pixel)):
                raise PriorsError(f"distance {name} is {pixel!r}; it must be [x, y] in pixels of the upright original")
            fields[name] = (float(pixel[0]), float(pixel[1]))
    return KnownDistance(**fields)


def _groups(groups: Any) -> list[list[str]]:
    right = isinstance(groups, list) and all(isinstance(g, list) and all(isinstance(n, str) for n in g) for g in groups)
    if groups is not None and not right:
        raise PriorsError(f"shared_cameras is {groups!r}; it must be a list of lists of photographs' names")
    return groups or []


def _numbered(distances: Any) -> dict[str, Any]:
    if not isinstance(distances, list | None):
        raise PriorsError(f"distances is {distances!r}; it must be a list")
    return {f"distances[{k}]": {"distance": entry} for k, entry in enumerate(distances or ())}


def _up(photos: Mapping[str, Any], values: Any) -> UpDirection | None:
    gravity = _each(photos, "gravity", lambda vector: vector)
    if values is None:
        return UpDirection(gravity) if gravity else None
    fields = _fields("up", values, ("dominant_plane", "axis"))
    return UpDirection(gravity, bool(fields.get("dominant_plane", False)), fields.get("axis", "z"))


def _each(photos: Mapping[str, Any], field: str, build: Callable[[Any], T]) -> dict[str, T]:
    """What the photographs say about one field; errors name the photograph."""
    built = {}
    for name, photo in photos.items():
        if photo.get(field) is not None:
            try:
                built[name] = build(photo[field])
            except PriorsError as error:
                raise PriorsError(f"{name}: {error}") from None
            except (TypeError, ValueError) as error:  # text where a number belongs, and the like
                raise PriorsError(f"{name}: {field} is {photo[field]!r}, which has a value of a wrong kind ({error})") from None
    return built


def _fields(what: str, values: Any, known: tuple[str, ...]) -> Mapping[str, Any]:
    _check_fields(what, values, known)
    return {name: value for name, value in values.items() if value is not None}


def _check_fields(what: str, values: Any, known: tuple[str, ...]) -> None:
    unknown = sorted(set(_object(what, values)) - set(known))
    if unknown:
        raise PriorsError(f"{what} has the unknown field {unknown[0]!r}; known: {', '.join(known)}")


def _object(what: str, values: Any) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise PriorsError(f"{what} is {values!r}; it must be an object")
    return values


def _required(what: str, fields: Mapping[str, Any], name: str) -> Any:
    if fields.get(name) is None:
        raise PriorsError(f"{what} has no {name}; it is required")
    return fields[name]
