"""How a photograph was held, as its header says: what turns the stored size into that of the upright photograph."""

from __future__ import annotations

from typing import BinaryIO

from PIL import Image

ORIENTATION = 0x0112
MAX_CHUNKS = 1000
MAX_EXIF_BYTES = 1 << 20


def read_orientation(file: BinaryIO, kind: str) -> int:
    """EXIF's orientation, 1 to 8; 1 where the size that was read is upright already (TIFF, HEIC), or nothing usable is said."""
    try:
        exif = Image.Exif()
        if kind == "WEBP":  # Pillow would make room for all its pixels
            exif.load(_webp_exif(file))
        elif kind in ("JPEG", "PNG"):
            file.seek(0)
            with Image.open(file, formats=[kind]) as image:
                exif = image.getexif()
        value = exif.get(ORIENTATION, 1)
    except Exception:  # whatever hostile EXIF provokes in a parser that is not ours; the pixels do not depend on it
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _webp_exif(file: BinaryIO) -> bytes:
    """The EXIF chunk of a WebP file (RFC 9649, section 2.7.1.5)."""
    position = 12
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        size = int.from_bytes(head[4:], "little")
        if len(head) < 8 or head[:4] == b"EXIF":
            return file.read(min(size, MAX_EXIF_BYTES)) if len(head) == 8 else b""
        position += 8 + size + size % 2
    return b""
