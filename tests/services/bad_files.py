"""Files that clients should not send, and good ones to put beside them."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIXTY_FOUR_MEGAPIXELS = Path(__file__).resolve().parents[1] / "data" / "bad" / "64-megapixels.webp"


def photo(seed: int = 0, kind: str = "JPEG", size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    """A small picture with structure, different for each seed."""
    return encode(Image.fromarray(texture(seed, size)), kind, **options)


def texture(seed: int, size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Random coloured blocks, (H, W, 3) uint8."""
    width, height = size
    blocks = np.random.default_rng(seed).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:height, :width]


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Write a picture in a format."""
    target = io.BytesIO()
    if kind == "HEIC":
        import pillow_heif

        pillow_heif.from_pillow(image).save(target, **options)
    else:
        image.save(target, kind, **options)
    return target.getvalue()


def text_as_photo() -> bytes:
    """Text that will be named .jpg."""
    return b"Dear reviewer, this is not a photograph.\n" * 40


def truncated(data: bytes, keep: float = 0.6) -> bytes:
    """The first part of a file."""
    return data[: int(len(data) * keep)]


def sixteen_bit_png() -> bytes:
    """Grey, 16 bits a pixel."""
    values = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    return encode(Image.fromarray(values), "PNG")


def sixteen_bit_tiff() -> bytes:
    """Grey, 16 bits a pixel."""
    values = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    return encode(Image.fromarray(values), "TIFF")


def cmyk_jpeg() -> bytes:
    """Four inks, as print shops send them."""
    return encode(Image.fromarray(texture(5, (64, 48))).convert("CMYK"), "JPEG")


def one_pixel() -> bytes:
    """A 1 x 1 picture."""
    return encode(Image.new("RGB", (1, 1), (200, 10, 10)), "PNG")


def huge_png_header() -> bytes:
    """A PNG that claims 100,000 x 100,000 pixels in 70 bytes."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def endless_segments(count: int = 400_000) -> bytes:
    """A JPEG of nothing but tiny segments: slow for a parser that follows them all."""
    return b"\xff\xd8" + b"\xff\xe0\x00\x02" * count


def make_zip(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """An ordinary zip."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return target.getvalue()


def zip_bomb(megabytes: int = 40) -> bytes:
    """A picture's name on zeros that deflate a thousand times."""
    return make_zip({"a.jpg": photo(1), "bomb.jpg": bytes(megabytes << 20)}, zipfile.ZIP_DEFLATED)


def lying_zip_bomb() -> bytes:
    """The same, but the archive claims that the entry inflates to 1,000 bytes."""
    data = zip_bomb(4)
    real, claimed = struct.pack("<I", 4 << 20), struct.pack("<I", 1000)
    assert data.count(real) == 2
    return data.replace(real, claimed)


def zip_with_parent_path() -> bytes:
    """One entry wants to lie outside."""
    return make_zip({"a.jpg": photo(1), "../../escape.jpg": photo(2)})


def zip_with_absolute_path() -> bytes:
    """One entry wants to lie at the root."""
    return make_zip({"/etc/a.jpg": photo(1)})


def zip_with_link() -> bytes:
    """One entry is a symbolic link."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        entry = zipfile.ZipInfo("a.jpg")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return target.getvalue()


def encrypted_zip() -> bytes:
    """The flag of encryption is set."""
    data = bytearray(make_zip({"a.jpg": photo(1)}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def nested_zip() -> bytes:
    """A zip in a zip."""
    return make_zip({"a.jpg": photo(1), "more.zip": make_zip({"b.jpg": photo(2)})})


def noise(size: int, seed: int = 0) -> bytes:
    """Random bytes."""
    return random.Random(seed).randbytes(size)
