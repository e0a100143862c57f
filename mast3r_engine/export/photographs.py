"""`images.zip`: the photographs turned upright, under the names that the other formats use."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps

from mast3r_engine.errors import ExportError
from mast3r_engine.export.archive import write_archive
from mast3r_engine.export.selection import exported_views
from mast3r_engine.lens import Lens
from mast3r_engine.reconstruction import Reconstruction
from mast3r_engine.undistortion import undistort

KINDS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
SAME_FILE = {"MPO": "JPEG"}  # a JPEG with further pictures behind it, as phones write them
PNG_MODES = ("L", "RGB", "I;16")  # 16 bits would be cut off, not scaled, on the way to RGB
JPEG_QUALITY = 97


def write_photographs(scene: Reconstruction, path: Path) -> None:
    """Write the photographs of the largest component; cameras are pinholes, so these are the undistorted images.

    Photographs whose lens is known are undistorted here. Any other JPEG or PNG that stands upright goes in byte by byte.
    ExportError when the photographs were not given as files, or when one is no longer what it was.
    """
    write_archive(path, _photographs(scene))


def _photographs(scene: Reconstruction) -> Iterator[tuple[str, bytes]]:
    for view in exported_views(scene):
        source = scene.sources[view.index] if view.index < len(scene.sources) else None
        if source is None:
            raise ExportError(f"{scene.names[view.index]} was not given as a file: images.zip needs the photographs' paths")
        kind, lens = KINDS[PurePosixPath(view.name).suffix.lower()], scene.lenses[view.index] if scene.lenses else None
        yield f"images/{view.name}", _upright(source, kind, (view.width, view.height), lens)


def _upright(source: Path, kind: str, size: tuple[int, int], lens: Lens | None) -> bytes:
    try:
        content = source.read_bytes()
        with _open(content) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.size != size:
                raise ExportError(f"{source.name} has {upright.width}x{upright.height} pixels now; it had {size[0]}x{size[1]}")
            distorted = lens is not None and not lens.needs_no_resampling
            if not distorted and SAME_FILE.get(image.format or "", image.format) == kind and image.getexif().get(0x0112, 1) == 1:
                return content
            written = io.BytesIO()
            kept = kind == "PNG" and upright.mode in PNG_MODES
            if lens is not None and distorted:
                upright, kept = Image.fromarray(undistort(np.asarray(upright.convert("RGB")), lens)), True
            (upright if kept else upright.convert("RGB")).save(written, kind, quality=JPEG_QUALITY, subsampling=0)
    except OSError as error:
        raise ExportError(f"{source.name} cannot be read any more ({error})") from error
    return written.getvalue()


def _open(content: bytes) -> Image.Image:
    if content[4:8] != b"ftyp":
        return Image.open(io.BytesIO(content))
    import pillow_heif

    # The class itself, as registering the plugin would change Pillow for the whole process.
    heic: Image.Image = pillow_heif.HeifImageFile(io.BytesIO(content))  # type: ignore[no-untyped-call]
    return heic
