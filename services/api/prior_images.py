"""Masks and depth maps: is this file a PNG that the engine can read as one? Its header is judged before a decoder sees it."""

from __future__ import annotations

import os
import struct
import threading
from dataclasses import dataclass
from typing import BinaryIO, Literal

from PIL import Image

from services.api.photo_ends import find_truncation

USED = 128  # of 255: masks are white where a pixel may be used
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY = 0  # colour type (PNG specification, 11.2.2)
_decoding = threading.BoundedSemaphore(2)  # images in memory at a time: 60 megapixels take 240 MB

ImageKind = Literal["mask", "depth"]


class UnusablePriorError(Exception):
    """A file that is no mask or no depth map; the message says why."""


@dataclass(frozen=True)
class PriorImageSize:
    """Pixels."""

    width: int
    height: int


def inspect_prior_image(file: BinaryIO, kind: ImageKind, max_pixels: int) -> PriorImageSize:
    """Check a mask (PNG, white where pixels may be used) or a depth map (PNG, 16-bit grey, millimetres). Blocks; decodes it.

    Raises:
        UnusablePriorError: no PNG, too many pixels, of another depth, cut off, damaged, or it says nothing.
    """
    size = _read_header(file, kind, max_pixels)
    with _decoding:
        highest = _highest_value(file, kind)
    if kind == "mask" and highest < USED:
        raise UnusablePriorError("the mask uses no pixel at all: none is white; leave the photograph out instead")
    if kind == "depth" and highest <= 0:
        raise UnusablePriorError("the depth is known nowhere: every pixel is 0; leave it out")
    file.seek(0)
    return size


def _read_header(file: BinaryIO, kind: ImageKind, max_pixels: int) -> PriorImageSize:
    """The IHDR chunk (PNG specification, 11.2.2)."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(26)
    if len(head) < 26 or not head.startswith(_SIGNATURE) or head[12:16] != b"IHDR":
        raise UnusablePriorError("not a PNG file (its first bytes say so, whatever its name)")
    width, height, bits, colour = struct.unpack(">IIBB", head[16:26])
    if width * height > max_pixels:
        raise UnusablePriorError(f"{width}x{height} is {width * height} pixels; the limit is {max_pixels}")
    if kind == "depth" and (bits, colour) != (16, _GREY):
        raise UnusablePriorError(f"a PNG of {bits} bits and colour type {colour}; a depth map is 16-bit grey, in millimetres")
    if kind == "mask" and bits > 8:
        raise UnusablePriorError(f"a PNG of {bits} bits; a mask has 8 or fewer, white where pixels may be used")
    cut = find_truncation(file, "PNG", length)
    if cut is not None:
        raise UnusablePriorError(f"the PNG file is cut off: {cut}")
    return PriorImageSize(width, height)


def _highest_value(file: BinaryIO, kind: ImageKind) -> float:
    file.seek(0)
    try:
        with Image.open(file, formats=["PNG"]) as image:
            image.load()
            _, high = (image.convert("L") if kind == "mask" else image).getextrema()
    except Exception as error:  # whatever damaged data provokes in a codec that is not ours
        raise UnusablePriorError(f"the PNG data cannot be decoded ({type(error).__name__})") from None
    return float(high)  # type: ignore[arg-type]  # of one channel
