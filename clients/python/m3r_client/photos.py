"""Photographs on their way to the service: where they lie and how they are called there."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from pathlib import Path

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".heic", ".heif"})


@dataclass(frozen=True)
class Photo:
    """One photograph; its bytes are read when they are sent."""

    name: str
    source: Path | bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def read(self) -> bytes:
        """Give the bytes."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


PhotoLike = Photo | str | PathLike[str] | tuple[str, bytes]
Photos = str | PathLike[str] | Iterable[PhotoLike]


def gather_photos(photos: Photos) -> list[Photo]:
    """List photographs in the order of their names, which is how a job numbers them.

    Args:
        photos: a folder, a file, or several of: a path, (name, bytes), a Photo.

    Raises:
        ValueError: there is none, or two have one name.
    """
    found = _in_place(Path(photos)) if isinstance(photos, (str, PathLike)) else [as_photo(each) for each in photos]
    found.sort(key=lambda photo: photo.name)
    if not found:
        raise ValueError(f"no photograph in {photos!r} ({', '.join(sorted(PHOTO_SUFFIXES))})")
    for first, second in pairwise(found):
        if first.name == second.name:
            raise ValueError(f"two photographs are named {first.name!r}; names must differ, and folders do not count")
    return found


def as_photo(photo: PhotoLike) -> Photo:
    """Make a Photo of a path or of a name and bytes."""
    if isinstance(photo, Photo):
        return photo
    if isinstance(photo, tuple):
        return Photo(_composed(photo[0]), photo[1])
    return Photo(_composed(Path(photo).name), Path(photo))


def _in_place(place: Path) -> list[Photo]:
    if not place.is_dir():
        return [as_photo(place)]
    files = (file for file in place.iterdir() if file.suffix.lower() in PHOTO_SUFFIXES and not file.name.startswith("."))
    return [as_photo(file) for file in files]


def _composed(name: str) -> str:
    """The form of a name that the service keeps; file systems of Apple give another one."""
    return unicodedata.normalize("NFC", name)
