"""From latitude, longitude and height to metres in a local frame: x east, y north, z up (WGS 84)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.errors import PriorsError

SEMI_MAJOR, FLATTENING = 6378137.0, 1 / 298.257223563  # metres; WGS 84, NIMA TR8350.2
ECCENTRICITY_2 = FLATTENING * (2 - FLATTENING)


@dataclass(frozen=True)
class GpsFix:
    """A position on the Earth; degrees and metres above the ellipsoid."""

    latitude: float
    longitude: float
    altitude: float = 0.0

    def __post_init__(self) -> None:
        if not -90 <= self.latitude <= 90:
            raise PriorsError(f"latitude is {self.latitude}; it must be -90 to 90 degrees")
        if not -180 <= self.longitude <= 180:
            raise PriorsError(f"longitude is {self.longitude}; it must be -180 to 180 degrees")
        if not -12_000 <= self.altitude <= 100_000:
            raise PriorsError(f"altitude is {self.altitude}; it must be -12000 to 100000 metres")


def to_local_metres(fixes: Mapping[str, GpsFix], origin: GpsFix | None = None) -> tuple[dict[str, tuple[float, ...]], GpsFix]:
    """East, north and up of each fix in metres from `origin`, by default the first fix; also returns the origin."""
    if not fixes:
        raise PriorsError("there is no GPS position to convert; give at least one")
    start = origin or next(iter(fixes.values()))
    lat, lon = math.radians(start.latitude), math.radians(start.longitude)
    sin_lat, cos_lat, sin_lon, cos_lon = math.sin(lat), math.cos(lat), math.sin(lon), math.cos(lon)
    to_enu = np.array(
        [
            [-sin_lon, cos_lon, 0.0],
            [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat],
            [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat],
        ]
    )
    base = _earth_centred(start)
    return {name: tuple((to_enu @ (_earth_centred(fix) - base)).tolist()) for name, fix in fixes.items()}, start


def _earth_centred(fix: GpsFix) -> NDArray[np.float64]:  # (3,) metres
    lat, lon = math.radians(fix.latitude), math.radians(fix.longitude)
    normal = SEMI_MAJOR / math.sqrt(1 - ECCENTRICITY_2 * math.sin(lat) ** 2)
    across = (normal + fix.altitude) * math.cos(lat)
    return np.array(
        [across * math.cos(lon), across * math.sin(lon), (normal * (1 - ECCENTRICITY_2) + fix.altitude) * math.sin(lat)]
    )
