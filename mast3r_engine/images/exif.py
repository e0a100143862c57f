"""What the engine reads from EXIF: orientation, 35 mm equivalent focal length and time. Positions (GPS) are not read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from PIL import ExifTags, Image

DIAGONAL_35MM = math.hypot(36.0, 24.0)  # millimetres; equivalence is by the diagonal (CIPA DCG-001)


@dataclass(frozen=True)
class ExifFacts:
    """What EXIF says; None where it says nothing usable."""

    orientation: int = 1  # 1 to 8
    focal_35mm: float | None = None  # millimetres
    time: datetime | None = None  # when the photograph was taken, by the camera's clock

    def focal_in_pixels(self, width: int, height: int) -> float | None:
        """Focal length in pixels of the whole, upright photograph."""
        return None if self.focal_35mm is None else self.focal_35mm / DIAGONAL_35MM * math.hypot(width, height)


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


def _time(value: object) -> datetime | None:
    try:
        return datetime.strptime(str(value).strip("\x00 "), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
