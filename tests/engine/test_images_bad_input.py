"""Files that must be refused: each error names the photograph and what to do."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from mast3r_engine.errors import InvalidImageError
from mast3r_engine.images import load_view, load_views

PIXELS = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)


def encoded(kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    if kind == "HEIC":
        pillow_heif.from_pillow(Image.fromarray(PIXELS)).save(stream, quality=90)
    else:
        Image.fromarray(PIXELS).save(stream, kind, **options)
    return stream.getvalue()


def refusal(image: Any, **options: Any) -> str:
    with pytest.raises(InvalidImageError) as error:
        load_view(image, "IMG_1.jpg", 64, 16, **options)
    assert error.value.name == "IMG_1.jpg"
    return error.value.reason


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIC"])
def test_a_truncated_file(kind: str, kept: float) -> None:
    data = encoded(kind)
    reason = refusal(data[: int(len(data) * kept)])
    assert "send" in reason
    assert len(load_view(data, "whole", 64, 16).pixels) == 48


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIC"])
def test_a_file_with_flipped_bytes_gives_an_image_or_an_invalid_image_error(kind: str) -> None:
    data = encoded(kind)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(60):
        broken = bytearray(data)
        for at in rng.integers(0, min(len(data), 400), 3):
            broken[at] ^= int(rng.integers(1, 256))
        try:
            load_view(bytes(broken), "a", 64, 16)
        except InvalidImageError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize(
    "data", [b"This is no photograph.", b"%PDF-1.7 and so on", b"\x00" * 100, b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
)
def test_text_renamed_jpg(data: bytes) -> None:
    reason = refusal(data)
    assert "is not a readable JPEG, PNG, WebP, TIFF or HEIC file" in reason
    assert repr(data[:16]) in reason


@pytest.mark.parametrize("kind", ["GIF", "BMP", "PPM", "ICO"])
def test_formats_that_are_not_on_the_list(kind: str) -> None:
    assert "convert it to JPEG" in refusal(encoded(kind))


def test_an_empty_file_and_a_missing_one(tmp_path: Path) -> None:
    assert refusal(b"") == "is empty; send it again"
    assert "No such file" in refusal(tmp_path / "none.jpg")
    assert "cannot be read" in refusal(tmp_path)
    assert "cannot be read" in refusal("nul\x00byte.jpg")


def test_one_pixel() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (1, 1)).save(stream, "PNG")
    assert "1x1 pixels; a photograph needs at least 16 pixels on each side" in refusal(stream.getvalue())


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (8000, 7501),  # just above the cap
        (10000, 9000),  # Pillow would warn
        (60000, 60000),  # Pillow would refuse
    ],
)
def test_too_many_pixels_are_refused_by_the_header(width: int, height: int, recwarn: pytest.WarningsRecorder) -> None:
    assert "pixels" in refusal(png_header(width, height))
    assert not recwarn.list


def test_a_small_webp_of_64_megapixels_costs_no_memory() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(stream, "WEBP", quality=1, method=0)
    bomb = stream.getvalue()
    assert len(bomb) < 300_000
    tracemalloc.start()
    reason = refusal(bomb)
    assert "has 8000x8000 pixels, 64.0 million; at most 60 million are taken" in reason
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_the_cap_on_pixels_is_a_parameter() -> None:
    data = encoded("PNG")
    assert "at most 0.012 million" in refusal(data, max_pixels=12_000)
    assert load_view(data, "a", 64, 16, max_pixels=128 * 96).pixels.shape == (48, 64, 3)
    assert "at most" in refusal(PIXELS, max_pixels=12_000)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((3, 48, 64), np.uint8),
        np.zeros((48, 64, 3), np.float32),
        np.zeros((0, 64, 3), np.uint8),
    ],
)
def test_arrays_of_another_shape_or_type(array: Any) -> None:
    assert f"shape {array.shape}, {array.dtype}; it must be (H, W, 3) uint8" in refusal(array)


def test_something_else_entirely() -> None:
    assert "is a int; it must be a path" in refusal(17)


def test_one_bad_photograph_among_good_ones() -> None:
    images = [PIXELS, b"no photograph", PIXELS]
    with pytest.raises(InvalidImageError, match=r"^image_001: "):
        load_views(images, 64, 16)
    left_out: list[tuple[int, str]] = []
    views = load_views(images, 64, 16, on_invalid=lambda index, error: left_out.append((index, error.name)))
    assert [view.name for view in views] == ["image_000", "image_002"]
    assert left_out == [(1, "image_001")]
