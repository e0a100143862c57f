"""Inspection of photographs by header and structure: every way to cut a file is seen, no damage breaks the inspection."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from PIL import Image

from services.api.archives import ArchiveLimits, read_archive
from services.api.photo_names import MAX_NAME_BYTES, safe_photo_name
from services.api.photos import PhotoHeader, UnusablePhotoError, inspect_photo
from services.api.problems import ProblemError
from tests.services import bad_files

MAX_PIXELS = 60_000_000
RAW: dict[str, Any] = {"compression": "raw"}


def jpeg_with_thumbnail() -> bytes:
    """A JPEG whose EXIF holds a whole JPEG, end marker included."""
    exif = Image.Exif()
    exif[0x010E] = "x"
    block = exif.tobytes() + bad_files.photo(9, size=(32, 24))
    return bad_files.encode(Image.fromarray(bad_files.texture(3, (64, 48))), "JPEG", exif=block)


WHOLE = {
    "jpeg": (bad_files.photo(1), "image/jpeg"),
    "progressive": (bad_files.photo(1, progressive=True), "image/jpeg"),
    "thumbnail": (jpeg_with_thumbnail(), "image/jpeg"),
    "cmyk": (bad_files.cmyk_jpeg(), "image/jpeg"),
    "png": (bad_files.photo(1, "PNG"), "image/png"),
    "png16": (bad_files.sixteen_bit_png(), "image/png"),
    "webp": (bad_files.photo(1, "WEBP"), "image/webp"),
    "webp lossless": (bad_files.photo(1, "WEBP", lossless=True), "image/webp"),
    "tiff": (bad_files.photo(1, "TIFF", **RAW), "image/tiff"),
    "tiff lzw": (bad_files.photo(1, "TIFF", compression="tiff_lzw"), "image/tiff"),
    "tiff deflate": (bad_files.photo(1, "TIFF", compression="tiff_adobe_deflate"), "image/tiff"),
    "heic": (bad_files.photo(1, "HEIC"), "image/heic"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_photos(name: str) -> None:
    data, media_type = WHOLE[name]
    assert inspect_photo(io.BytesIO(data), MAX_PIXELS) == PhotoHeader(media_type, 64, 48)


@pytest.mark.parametrize("name", WHOLE)
def test_every_way_to_cut_a_photo_is_seen(name: str) -> None:
    data, _ = WHOLE[name]
    # libtiff writes its directory, and Pillow a JPEG, to the very end; a byte of padding is all that may follow.
    last = len(data) - (1 if data[-1:] == b"\0" else 0)
    steps = {*range(0, last, 7), *range(last - 40, last)}
    kept = [cut for cut in sorted(steps) if is_usable(data[:cut])]
    assert kept == []


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", WHOLE)
def test_damage_never_breaks_the_inspection(name: str) -> None:
    data, dice = WHOLE[name][0], random.Random(name)
    for _ in range(300):
        hurt = bytearray(data)
        for _ in range(dice.choice((1, 3, 20))):
            hurt[dice.randrange(min(len(hurt), dice.choice((64, 600, 10_000))))] = dice.randrange(256)
        is_usable(bytes(hurt))  # any error but UnusablePhotoError fails the test


def is_usable(data: bytes) -> bool:
    """Inspect bytes as a photograph."""
    try:
        inspect_photo(io.BytesIO(data), MAX_PIXELS)
    except UnusablePhotoError:
        return False
    return True


def test_damaged_archives_end_in_a_refusal_or_in_damaged_entries() -> None:
    data = bad_files.make_zip({f"{n}.jpg": bad_files.photo(n) for n in range(3)}, 8)
    limits = ArchiveLimits(entries=10, entry_bytes=100_000, total_bytes=300_000, ratio=100)
    dice, refused, damaged = random.Random(4), 0, 0
    for _ in range(400):
        hurt = bytearray(data)
        for _ in range(dice.choice((1, 5))):
            hurt[-dice.randrange(1, 400) if dice.random() < 0.5 else dice.randrange(len(hurt))] = dice.randrange(256)
        try:
            for photo in read_archive(io.BytesIO(bytes(hurt)), limits, []):
                damaged += photo.file is None
                if photo.file is not None:
                    photo.file.close()
        except ProblemError as error:
            refused += error.code.value in ("invalid_archive", "too_large")
    assert refused > 20
    assert damaged > 20


@pytest.mark.parametrize(
    "name", ["", "/", "\\", "...", "a/b/", "\x00", "é" * 500, "x" * 500 + ".jpeg", "a\u202egpj.exe", "\ud800.jpg"]
)
def test_safe_names_are_safe(name: str) -> None:
    safe = safe_photo_name(name)
    assert len(safe.encode()) <= MAX_NAME_BYTES
    assert safe.isprintable()
    assert not set(safe) & set("/\\")
    assert not safe.startswith(".")
