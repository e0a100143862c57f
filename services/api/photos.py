"""Is this file a photograph the engine can read? Answered from its header and its structure, nothing is decoded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

import imagesize
import pillow_heif
from PIL import Image

from services.api.photo_ends import find_truncation
from services.api.photo_orientation import read_orientation

MIN_PHOTO_SIDE = 16  # pixels; one patch of the network
MAX_ASPECT = 8  # long side over short side; beyond it the short side falls below a patch at network size

PHOTO_FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "HEIC": "image/heic", "TIFF": "image/tiff"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


@dataclass(frozen=True)
class PhotoHeader:
    """What a photograph's header says."""

    media_type: str
    width: int  # pixels, as stored, before EXIF rotation
    height: int
    orientation: int = 1  # EXIF's, 1 to 8


class UnusablePhotoError(Exception):
    """A file that cannot be used as a photograph; the message says why."""


def inspect_photo(file: BinaryIO, max_pixels: int) -> PhotoHeader:
    """Read a photograph's header and check that the file is whole.

    Raises:
        UnusablePhotoError: not an allowed format, no readable header, too many or too few pixels, or cut off.
    """
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise UnusablePhotoError("the file is empty")
    kind = photo_format(read_head(file))
    if kind is None:
        raise UnusablePhotoError("not a JPEG, PNG, WebP, HEIC or TIFF file (its first bytes say so, whatever its name)")
    cut = find_truncation(file, kind, size)  # first: it takes a bounded number of steps, which no other parser promises
    if cut is not None:
        raise UnusablePhotoError(f"the {kind} file is cut off: {cut}")
    width, height = _read_size(file, kind, max_pixels)
    _check_size(width, height, max_pixels)
    orientation = read_orientation(file, kind)
    file.seek(0)
    return PhotoHeader(PHOTO_FORMATS[kind], width, height, orientation)


def read_head(file: BinaryIO) -> bytes:
    """Return the first bytes of a file, enough for `photo_format`."""
    file.seek(0)
    return file.read(32)


def photo_format(head: bytes) -> str | None:
    """Name the format by its first bytes (32 are enough); None: not one we take."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        return "HEIC"
    return None


def _read_size(file: BinaryIO, kind: str, max_pixels: int) -> tuple[int, int]:
    """Width and height. Cheap header parsers come first: a file that claims too much is never handed to a codec."""
    claimed = _claimed_size(file)
    if claimed is not None:
        _check_size(*claimed, max_pixels)
    if kind == "WEBP":  # Pillow makes room for all its pixels before it tells the size, so it is not asked
        if claimed is None:
            raise UnusablePhotoError("its WEBP header cannot be read")
        return claimed
    file.seek(0)
    try:
        if kind == "HEIC":
            width, height = pillow_heif.open_heif(file, convert_hdr_to_8bit=False).size
            return int(width), int(height)
        with Image.open(file, formats=[kind]) as image:
            return image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnusablePhotoError(f"more than {max_pixels} pixels, the limit") from None
    except Exception:  # whatever a hostile header provokes in a parser that is not ours
        raise UnusablePhotoError(f"its {kind} header cannot be read") from None


def _claimed_size(file: BinaryIO) -> tuple[int, int] | None:
    file.seek(0)
    try:
        width, height = imagesize.get(file, exif_rotation=False)
    except Exception:  # whatever a hostile header provokes in the parser, the codec's own reader decides next
        return None
    return (width, height) if width > 0 and height > 0 else None


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UnusablePhotoError(f"{width} x {height} is {width * height} pixels; the limit is {max_pixels}")
    if min(width, height) < MIN_PHOTO_SIDE:
        raise UnusablePhotoError(f"{width} x {height} pixels; the short side must have {MIN_PHOTO_SIDE} or more")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UnusablePhotoError(f"{width} x {height} pixels; the long side may be {MAX_ASPECT} times the short one at most")
