"""Loading: names, bit-exact pass-through, the published resampling, formats, orientation, modes."""

from __future__ import annotations

import io
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile

from mast3r_engine.errors import InvalidImageError
from mast3r_engine.images import load_view, load_views, name_images, to_tensor

ORIENTATION, EXIF_IFD, FOCAL_35MM, TAKEN = 0x0112, 0x8769, 0xA405, 0x9003


def picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colours and some noise, so that codecs change little and a flip shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    ramps = np.stack([x * 200 / width, y * 200 / height, (x + y) * 200 / (width + height)], axis=-1)
    return (ramps + rng.integers(0, 20, (height, width, 3))).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def load(image: Any, size: int | None = None) -> NDArray[np.uint8]:
    return load_view(image, "photo", size, 16).pixels


# --- names


def test_names_come_from_files_and_stay_distinct(tmp_path: Path) -> None:
    Image.fromarray(picture(32, 32)).save(tmp_path / "c.png")
    opened = Image.open(tmp_path / "c.png")
    with (tmp_path / "c.png").open("rb") as stream:
        images = ["x/a.jpg", Path("y/a.jpg"), picture(32, 32), b"bytes", "a (2).jpg", opened, stream, "z/a.jpg"]
        assert name_images(images) == [
            "a.jpg",
            "a (2).jpg",
            "image_002",
            "image_003",
            "a (2) (2).jpg",
            "c.png",
            "c (2).png",
            "a (3).jpg",
        ]


# --- what may be given


def test_all_kinds_of_source_give_the_same_view(tmp_path: Path) -> None:
    pixels = picture(64, 48)
    path = tmp_path / "p.png"
    Image.fromarray(pixels).save(path)
    with path.open("rb") as stream:
        stream.seek(7)
        sources = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), stream, Image.open(path), pixels]
        views = load_views(sources, 64, 16)
    for view in views:
        np.testing.assert_array_equal(view.pixels, pixels)
    assert [view.name for view in views] == [
        "p.png",
        "p (2).png",
        "image_002",
        "image_003",
        "p (3).png",
        "p (4).png",
        "image_006",
    ]


@pytest.mark.parametrize("value", [0, 1, 127, 255])
@pytest.mark.parametrize("size", [None, 64])
def test_the_networks_own_size_passes_unchanged_also_when_blank(value: int, size: int | None) -> None:
    grey = np.full((48, 64, 3), value, np.uint8)
    view = load_view(grey, "grey", size, 16)
    np.testing.assert_array_equal(view.pixels, grey)
    assert view.geometry.to_original(np.array([3, 4])).tolist() == [3.0, 4.0]


def test_the_views_pixels_are_its_own() -> None:
    array = picture(64, 48)
    view = load_view(array, "a", 64, 16)
    before = view.pixels.copy()
    array[:] = 0
    np.testing.assert_array_equal(view.pixels, before)


def test_a_non_contiguous_array_loads() -> None:
    big = picture(128, 96)
    np.testing.assert_array_equal(load(big[::2, ::2], 64), big[::2, ::2])


# --- resampling


@pytest.mark.parametrize(
    ("width", "height", "resample"), [(900, 600, Image.Resampling.LANCZOS), (90, 60, Image.Resampling.BICUBIC)]
)
def test_lanczos_shrinks_and_bicubic_enlarges(width: int, height: int, resample: Image.Resampling) -> None:
    pixels = picture(width, height)
    whole = np.asarray(Image.fromarray(pixels).resize((256, 171), resample))
    np.testing.assert_array_equal(load(pixels, 256), whole[5:165])


def test_square_crop_of_the_224_models() -> None:
    pixels = picture(640, 480)
    whole = np.asarray(Image.fromarray(pixels).resize((299, 224), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(load_view(pixels, "a", 224, 16, square_crop=True).pixels, whole[:, 37:261])


def test_to_tensor_is_the_exact_formula() -> None:
    a = np.arange(256, dtype=np.uint8).reshape(16, 16)[..., None].repeat(3, axis=-1)
    views = load_views([a, a[::-1]], None, 16)
    tensor = to_tensor(views)
    assert tensor.shape == (2, 3, 16, 16)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    v = torch.arange(256, dtype=torch.float32).reshape(16, 16)
    assert torch.equal(tensor[0, 1], (v / 255 - 0.5) / 0.5)
    assert torch.equal(tensor[1], tensor[0].flip(1))
    assert tensor.min() == -1
    assert tensor.max() == 1


def test_to_tensor_refuses_mixed_sizes() -> None:
    views = load_views([picture(64, 48), picture(48, 64)], None, 16)
    with pytest.raises(ValueError, match=r"one size"):
        to_tensor(views)


# --- formats


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True})]
)
def test_lossless_formats_come_back_exactly(kind: str, options: dict[str, Any]) -> None:
    pixels = picture(64, 48)
    np.testing.assert_array_equal(load(encoded(Image.fromarray(pixels), kind, **options)), pixels)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "MPO"])
def test_lossy_formats_come_back_nearly(kind: str) -> None:
    pixels = picture(64, 48)
    options: dict[str, Any] = {"quality": 95}
    if kind == "MPO":
        options |= {"save_all": True, "append_images": [Image.fromarray(picture(64, 48, seed=1))]}
    assert np.abs(load(encoded(Image.fromarray(pixels), kind, **options)).astype(int) - pixels).mean() < 6


def test_heic_loads_without_registering_a_plugin() -> None:
    pixels = picture(64, 48)
    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(stream, quality=95)
    assert np.abs(load(stream.getvalue()).astype(int) - pixels).mean() < 6
    assert "HEIF" not in Image.OPEN


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "PNG"])
def test_the_first_of_several_frames_counts(kind: str) -> None:
    frames = [Image.fromarray(np.full((32, 48, 3), value, np.uint8)) for value in (40, 120, 200)]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(load(data), np.asarray(frames[0]))


# --- EXIF


def turned(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """How a camera stores an upright picture under each orientation value, by the EXIF table (row 0 / column 0)."""
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    return np.ascontiguousarray(stored[orientation])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_every_orientation_is_turned_upright(orientation: int, kind: str) -> None:
    upright = picture(64, 48)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    view = load_view(encoded(Image.fromarray(turned(upright, orientation)), kind, exif=exif, **options), "a", None, 16)
    np.testing.assert_array_equal(view.pixels, upright)
    assert view.exif_orientation == orientation
    assert (view.geometry.original_width, view.geometry.original_height) == (64, 48)


def test_an_image_turned_by_the_caller_is_not_turned_again() -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[ORIENTATION] = 6
    upright = picture(64, 48)
    opened = Image.open(io.BytesIO(encoded(Image.fromarray(turned(upright, 6)), "PNG", exif=exif)))
    np.testing.assert_array_equal(load(ImageOps.exif_transpose(opened)), upright)


def test_focal_length_and_time_are_read_and_positions_are_not() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif.get_ifd(EXIF_IFD)[FOCAL_35MM] = 26
    exif.get_ifd(EXIF_IFD)[TAKEN] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8825)[1] = "N"
    view = load_view(encoded(Image.fromarray(picture(400, 300)), "JPEG", exif=exif), "a", 64, 16)
    assert view.exif_focal == pytest.approx(26 * 500 / 43.26661530556787)
    assert view.exif_time == datetime(2024, 5, 6, 7, 8, 9)
    assert not [name for name in vars(view) if "gps" in name.lower()]


@pytest.mark.parametrize(("focal", "taken", "orientation"), [(0, "0000:00:00 00:00:00", 0), (65535, "yesterday", 9)])
def test_useless_exif_counts_as_none(focal: int, taken: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif.get_ifd(EXIF_IFD)[FOCAL_35MM] = focal
    exif.get_ifd(EXIF_IFD)[TAKEN] = taken
    pixels = picture(64, 48)
    view = load_view(encoded(Image.fromarray(pixels), "PNG", exif=exif), "a", None, 16)
    assert (view.exif_focal, view.exif_time, view.exif_orientation) == (None, None, 1)
    np.testing.assert_array_equal(view.pixels, pixels)


def test_damaged_exif_does_not_cost_the_photograph() -> None:
    data = encoded(Image.fromarray(picture(64, 48)), "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff broken")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load_view(data, "a", None, 16).exif_orientation == 1


# --- modes


def test_grey_and_palette_and_one_bit() -> None:
    grey = picture(64, 48)[..., 0]
    np.testing.assert_array_equal(load(encoded(Image.fromarray(grey), "PNG")), grey[..., None].repeat(3, axis=-1))
    palette = Image.fromarray(picture(64, 48)).quantize(64)
    np.testing.assert_array_equal(load(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))
    bits = Image.fromarray(grey > 80)
    np.testing.assert_array_equal(load(encoded(bits, "PNG"))[..., 1], (grey > 80) * np.uint8(255))


def test_alpha_is_dropped_and_not_composited() -> None:
    pixels = picture(64, 48)
    alpha = np.linspace(0, 255, 64 * 48).astype(np.uint8).reshape(48, 64)
    rgba = Image.fromarray(np.dstack([pixels, alpha]))
    np.testing.assert_array_equal(load(encoded(rgba, "PNG")), pixels)
    la = Image.fromarray(np.dstack([pixels[..., 0], alpha]))
    np.testing.assert_array_equal(load(encoded(la, "PNG")), pixels[..., :1].repeat(3, axis=-1))


def test_cmyk_is_converted() -> None:
    cmyk = np.zeros((32, 48, 4), np.uint8)
    cmyk[:, :24] = [0, 255, 255, 0]  # red
    cmyk[:, 24:] = [0, 0, 0, 128]  # half black
    rgb = load(encoded(Image.fromarray(cmyk, "CMYK"), "TIFF"))
    np.testing.assert_array_equal(rgb[5, 5], [255, 0, 0])
    np.testing.assert_array_equal(rgb[5, 30], [127, 127, 127])
    jpeg = load(encoded(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=95)).astype(int)
    assert np.abs(jpeg[5, 5] - [255, 0, 0]).max() < 8


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_and_not_clipped(kind: str) -> None:
    samples = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)
    rgb = load(encoded(Image.fromarray(samples), kind))
    np.testing.assert_array_equal(rgb, np.rint(samples / 257).astype(np.uint8)[..., None].repeat(3, axis=-1))
    assert len(np.unique(rgb)) == 256


def test_16_bit_colour_is_scaled() -> None:
    import struct
    import zlib

    samples = np.linspace(0, 65535, 48 * 32 * 3).astype(np.uint16).reshape(32, 48, 3)
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in samples)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 48, 32, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.abs(load(png).astype(float) - samples / 257).max() <= 1


def test_32_bit_samples_are_refused_with_the_remedy() -> None:
    with pytest.raises(InvalidImageError, match=r"^photo: has 32-bit samples.*save it with 8 or 16 bits"):
        load(encoded(Image.fromarray(np.zeros((32, 32), np.float32)), "TIFF"))


def test_loading_leaves_pillows_switches_alone() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, dict(Image.OPEN), list(warnings.filters))
    load(encoded(Image.fromarray(picture(64, 48)), "JPEG"))
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, dict(Image.OPEN), list(warnings.filters)) == before
