"""Is an image file whole? Each format tells where it ends; a file that was cut off does not get there.

Only the structure is walked, in a bounded number of steps, so the cost depends neither on the number of pixels nor on what a
hostile file claims. Damage inside compressed data is not seen here; the engine meets it when it decodes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO

MAX_STEPS = 50_000  # segments, chunks, boxes or strips; a 60-megapixel photograph has a tenth of that
_BLOCK = 1 << 20
_TIFF_SIZES = {3: (2, "H"), 4: (4, "I")}  # SHORT, LONG
_TIFF_PLACES = {273: 279, 324: 325}  # offsets of strips and tiles: the tag of their lengths


def find_truncation(file: BinaryIO, kind: str, size: int) -> str | None:
    """Say where the file breaks off, or None when it is whole.

    Args:
        file: seekable, of `size` bytes.
        kind: JPEG, PNG, WEBP, TIFF or HEIC, as its first bytes said.
    """
    try:
        return _FINDERS[kind](file, size)
    except struct.error:
        return "its structure ends too early"


def _jpeg(file: BinaryIO, _: int) -> str | None:
    """Walk the segments to the first scan, then look for the end-of-image marker (ITU-T T.81, annex B).

    Inside a scan a byte 0xFF is followed by 0x00 or a restart marker, so FF D9 is the marker and nothing else.
    """
    position = 2
    for _step in range(MAX_STEPS):
        file.seek(position)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF:
            return f"no image data before byte {position}"
        if head[1] == 0xFF:  # fill byte
            position += 1
            continue
        position += 2 + int.from_bytes(head[2:], "big")
        if head[1] == 0xDA:
            return None if _contains(file, position, b"\xff\xd9") else "the end-of-image marker is missing"
    return f"no image data within {MAX_STEPS} segments"


def _png(file: BinaryIO, size: int) -> str | None:
    """Walk the chunks to IEND (PNG specification, section 5.3)."""
    position = 8
    for _ in range(MAX_STEPS):
        if position + 12 > size:
            break
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8))
        position += 12 + length
        if name == b"IEND":
            return None if position <= size else "the IEND chunk is cut"
    return "the IEND chunk is missing"


def _webp(file: BinaryIO, size: int) -> str | None:
    """Compare the RIFF header's length with the file's."""
    file.seek(4)
    declared = 8 + int(struct.unpack("<I", file.read(4))[0])
    return None if size >= declared else f"{size} of {declared} bytes"


def _heic(file: BinaryIO, size: int) -> str | None:
    """Walk the top-level boxes (ISO/IEC 14496-12, section 4.2)."""
    position = 0
    for _ in range(MAX_STEPS):
        if position >= size:
            return None if position == size else f"{size} of {position} bytes"
        file.seek(position)
        length = int(struct.unpack(">I", file.read(4))[0])
        if length == 0:  # to the end of the file
            return None
        if length == 1:
            length = int(struct.unpack(">4xQ", file.read(12))[0])
        if length < 8:
            return f"the box at byte {position} has a wrong length"
        position += length
    return f"more than {MAX_STEPS} boxes"


def _tiff(file: BinaryIO, size: int) -> str | None:
    """Compare the strips' or tiles' places with the file's length (TIFF 6.0, section 2 and 15)."""
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    file.seek(4)
    (directory,) = struct.unpack(order + "I", file.read(4))
    file.seek(directory)
    (count,) = struct.unpack(order + "H", file.read(2))
    entries = {
        tag: (kind, number, value) for tag, kind, number, value in struct.iter_unpack(order + "HHI4s", file.read(12 * count))
    }
    for starts_tag, lengths_tag in _TIFF_PLACES.items():
        if starts_tag in entries and lengths_tag in entries:
            starts = _tiff_numbers(file, order, *entries[starts_tag])
            lengths = _tiff_numbers(file, order, *entries[lengths_tag])
            end = max((start + length for start, length in zip(starts, lengths)), default=size + 1)
            return None if end <= size else f"{size} of {end} bytes"
    return "it says nowhere where its pixels lie"


def _tiff_numbers(file: BinaryIO, order: str, kind: int, number: int, value: bytes) -> tuple[int, ...]:
    if kind not in _TIFF_SIZES or number > MAX_STEPS:
        raise struct.error(f"{number} values of type {kind}")
    width, letter = _TIFF_SIZES[kind]
    raw = value[: number * width]
    if number * width > 4:
        file.seek(struct.unpack(order + "I", value)[0])
        raw = file.read(number * width)
    return struct.unpack(f"{order}{number}{letter}", raw)


def _contains(file: BinaryIO, start: int, mark: bytes) -> bool:
    file.seek(start)
    kept = b""
    while block := file.read(_BLOCK):
        if mark in kept + block:
            return True
        kept = block[-len(mark) + 1 :]
    return False


_FINDERS: dict[str, Callable[[BinaryIO, int], str | None]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "HEIC": _heic,
    "TIFF": _tiff,
}
