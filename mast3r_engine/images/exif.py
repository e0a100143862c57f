"""What the engine reads from EXIF: orientation, 35 mm equivalent focal length and time. Positions (GPS) are not read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from PIL import ExifTags, Image

UNIT_MM: dict[object, float] = {2: 25.4, 3: 10.0}  # FocalPlaneResolutionUnit: inch, centimetre (Exif 2.3, 4.6.5)
PITCH_AGREEMENT = 0.1  # of the logarithm, between both sources
DIAGONAL_35MM = math.hypot(36.0, 24.0)  # millimetres; equivalence is by the diagonal (CIPA DCG-001)


@dataclass(frozen=True)
class ExifFacts:
    """What EXIF says; None where it says nothing usable."""

    orientation: int = 1  # 1 to 8
    focal_35mm: float | None = None  # millimetres
    focal_of_longer_side: float | None = None  # focal length over the longer side, from the sensor's pixel pitch
    time: datetime | None = None  # when the photograph was taken, by the camera's clock

    def focal_in_pixels(self, width: int, height: int) -> float | None:
        """Focal length in pixels of the whole, upright photograph: by the sensor's pitch, else by the 35 mm equivalent."""
        equivalent = None if self.focal_35mm is None else self.focal_35mm / DIAGONAL_35MM * math.hypot(width, height)
        if self.focal_of_longer_side is None:
            return equivalent
        by_pitch = self.focal_of_longer_side * max(width, height)
        # Software that resizes a photograph may rewrite its size and leave the sensor's pitch as it was.
        contradicted = equivalent is not None and abs(math.log(by_pitch / equivalent)) > PITCH_AGREEMENT
        return equivalent if contradicted else by_pitch


def read_exif(image: Image.Image) -> ExifFacts:
    """Read the facts; damaged EXIF counts as none, since the pixels do not depend on it."""
    try:
        exif = image.getexif()
        details = exif.get_ifd(ExifTags.IFD.Exif)
    except MemoryError:
        raise
    except Exception:  # Pillow's parsers raise whatever the bytes provoke
        return ExifFacts()
    return ExifFacts(
        orientation=_orientation(exif.get(ExifTags.Base.Orientation)),
        focal_35mm=_focal(details.get(ExifTags.Base.FocalLengthIn35mmFilm)),
        focal_of_longer_side=_focal_by_pitch(details),
        time=_time(details.get(ExifTags.Base.DateTimeOriginal)),
    )


def _orientation(value: object) -> int:
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _focal(value: object) -> float | None:
    try:
        focal = float(value)  # type: ignore[arg-type]  # anything EXIF holds; what is no number raises
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return focal if 1.0 <= focal <= 5000.0 else None  # 0 means unknown


def _focal_by_pitch(details: Mapping[int, object]) -> float | None:
    """Focal length over the longer side: its millimetres times the sensor's pixels per millimetre, over the pixels it took."""
    millimetres = _focal(details.get(ExifTags.Base.FocalLength))
    per_unit = _positive(details.get(ExifTags.Base.FocalPlaneXResolution))
    unit = UNIT_MM.get(details.get(ExifTags.Base.FocalPlaneResolutionUnit, 2))
    sides = [_positive(details.get(tag)) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    if millimetres is None or per_unit is None or unit is None or None in sides:
        return None
    ratio = millimetres * per_unit / unit / max(side for side in sides if side is not None)
    return ratio if 0.1 <= ratio <= 50 else None  # some cameras write the pitch of a preview


def _positive(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _time(value: object) -> datetime | None:
    try:
        return datetime.strptime(str(value).strip("\x00 "), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
