"""Opening a photograph: what may be given, what it is called, and which files are refused before a pixel is decoded."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mast3r_engine.errors import InvalidImageError

ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[np.uint8]

MAX_PIXELS = 60_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")  # by content, whatever the file is called; HEIC has its own way in
FORMAT_NAMES = "JPEG, PNG, WebP, TIFF or HEIC"
HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

# Changing the warning filter is not safe between threads; opening reads the header alone, so that the lock is brief.
_opening = threading.Lock()


def name_images(images: Sequence[ImageSource]) -> list[str]:
    """Name each image: its file name where it has one, else `image_000`, …; a name that came before gets ` (2)`, …"""
    names: list[str] = []
    taken: set[str] = set()
    for wanted in file_names(images):
        name, copy = wanted, 2
        while name in taken:
            path = Path(wanted)
            name, copy = f"{path.stem} ({copy}){path.suffix}", copy + 1
        names.append(name)
        taken.add(name)
    return names


def file_names(images: Sequence[ImageSource]) -> list[str]:
    """The names under which priors know the images: those of `name_images` before any is told apart from another."""
    return [_file_name(image) or f"image_{index:03d}" for index, image in enumerate(images)]


def open_image(
    image: ImageSource,
    name: str,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Open a photograph without decoding it; formats are told by content, the size is read from the header.

    InvalidImageError when it cannot be read, has another format or more than `max_pixels` pixels.
    """
    opened = _open(image, name)
    width, height = opened.size
    if width * height > max_pixels:
        raise InvalidImageError(
            name,
            f"has {width}x{height} pixels, {width * height / 1e6:.1f} million; at most {max_pixels / 1e6:g} million are taken",
        )
    return opened


def _file_name(image: ImageSource) -> str:
    if isinstance(image, (str, os.PathLike)):
        return Path(image).name
    path = getattr(image, "filename", "") or getattr(image, "name", "")
    return Path(path).name if isinstance(path, str) else ""


def _open(image: ImageSource, name: str) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, np.ndarray):
        return _from_array(image, name)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _open_stream(io.BytesIO(image), name)
    if isinstance(image, (str, os.PathLike)):
        try:
            return _open_stream(io.BytesIO(Path(image).read_bytes()), name)
        except (OSError, ValueError) as error:
            raise InvalidImageError(name, f"cannot be read ({error}); give the path of a {FORMAT_NAMES} file") from error
    if hasattr(image, "read"):
        return _open_stream(_from_start(image), name)
    raise InvalidImageError(
        name, f"is a {type(image).__name__}; it must be a path, bytes, an open file, a PIL image or an (H, W, 3) uint8 array"
    )


def _from_array(pixels: NDArray[Any], name: str) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise InvalidImageError(name, f"is an array of shape {pixels.shape}, {pixels.dtype}; it must be (H, W, 3) uint8, RGB")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _from_start(stream: IO[bytes]) -> io.BytesIO:
    if stream.seekable():
        stream.seek(0)
    return io.BytesIO(stream.read())


def _open_stream(stream: io.BytesIO, name: str) -> Image.Image:
    head = stream.getvalue()[:16]
    if not head:
        raise InvalidImageError(name, "is empty; send it again")
    try:
        if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS:
            return _open_heic(stream, name)
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(stream, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidImageError(name, f"has far too many pixels ({error}); send a smaller photograph") from error
    except UnidentifiedImageError as error:
        raise InvalidImageError(
            name, f"is not a readable {FORMAT_NAMES} file (it begins with {head!r}); send the original or convert it to JPEG"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidImageError(name, f"is damaged ({error}); send it again") from error


def _open_heic(stream: io.BytesIO, name: str) -> Image.Image:
    try:
        import pillow_heif
    except ImportError as error:
        raise InvalidImageError(name, "is HEIC, which needs the package pillow-heif; install it or convert it to JPEG") from error
    # The plugin class itself: registering it would change which files every user of Pillow in this process can open.
    opened: Image.Image = pillow_heif.HeifImageFile(stream)  # type: ignore[no-untyped-call]
    return opened
