"""From an opened file to upright 8-bit RGB pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image

from mast3r_engine.errors import InvalidImageError
from mast3r_engine.images.exif import ExifFacts, read_exif

# How to turn a stored image upright, by EXIF orientation.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BITS_PER_SAMPLE = 258  # TIFF tag


def decode_upright(
    opened: Image.Image,
    name: str,
) -> tuple[Image.Image, ExifFacts]:
    """Decode the first frame, turn it upright and bring it to 8-bit RGB; alpha is dropped, not composited.

    InvalidImageError when the file is truncated or damaged, or its samples have no agreed white level.
    """
    try:
        # Pillow turns TIFF upright itself while it loads, and then says 1; other formats may hold EXIF behind the pixels.
        before = read_exif(opened) if opened.format == "TIFF" else None
        opened.load()
        facts = read_exif(opened)
        remaining = facts.orientation
        rgb = _to_rgb(opened, name)
        upright = rgb.transpose(UPRIGHT[remaining]) if remaining in UPRIGHT else rgb
    except (InvalidImageError, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever the bytes provoke
        raise InvalidImageError(name, f"is truncated or damaged ({error}); send it again") from error
    return upright, before or facts


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):
        return _scale_16_bit(image).convert("RGB")
    if image.mode in ("I", "F"):
        raise InvalidImageError(name, "has 32-bit samples, whose white level is not known; save it with 8 or 16 bits")
    if image.mode in ("La", "RGBa"):  # colours multiplied by alpha: divide first
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    return image.convert("RGB")


def _scale_16_bit(image: Image.Image) -> Image.Image:
    bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))[0]
    samples = np.asarray(image).astype(np.float64)
    return Image.fromarray(np.rint(np.minimum(samples / (2**bits - 1), 1.0) * 255).astype(np.uint8))
