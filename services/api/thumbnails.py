"""Small pictures of photographs, for pages that show what was sent. Made once, then kept beside the photograph.

A photograph was judged when it came in; here its header is judged again before a decoder sees it, since the limits may have
been lowered since then, and objects may have come another way.
"""

from __future__ import annotations

import contextlib
import io
from typing import BinaryIO

import pillow_heif
from anyio import CapacityLimiter
from PIL import Image, ImageOps

from services.adapters.objects import ObjectNotFound, ObjectStore, ObjectStoreError
from services.api.photos import PHOTO_FORMATS, UnusablePhotoError, inspect_photo
from services.contract import keys
from services.contract.jobs import ImageInput

SIDE = 320  # pixels, of the longer side at most
QUALITY = 80
DECODERS = CapacityLimiter(2)  # photographs in memory at a time: 60 megapixels take 240 MB

_KINDS = {media_type: kind for kind, media_type in PHOTO_FORMATS.items()}


def thumbnail_of(objects: ObjectStore, capture_id: str, image: ImageInput, max_pixels: int) -> bytes:
    """Give a photograph's thumbnail as JPEG. Blocks.

    Raises:
        UnusablePhotoError: it cannot be decoded.
        ObjectNotFound: the photograph is gone.
        ObjectStoreError: the store failed.
    """
    key = keys.capture_thumbnail(capture_id, image.name)
    with contextlib.suppress(ObjectNotFound):
        return objects.read(key)
    data = objects.read(keys.capture_image(capture_id, image.name))
    small = make_thumbnail(io.BytesIO(data), max_pixels)
    with contextlib.suppress(ObjectStoreError):  # a full store is no reason not to show it
        objects.put(key, small, "image/jpeg")
    return small


def make_thumbnail(file: BinaryIO, max_pixels: int) -> bytes:
    """Make a JPEG of at most `SIDE` pixels, upright, without metadata; never larger than the photograph.

    Raises:
        UnusablePhotoError: not a photograph, too many pixels, or damaged.
    """
    header = inspect_photo(file, max_pixels)
    file.seek(0)
    kind = _KINDS[header.media_type]
    try:
        if kind == "HEIC":  # libheif turns it upright by itself
            return _shrink(pillow_heif.open_heif(file, convert_hdr_to_8bit=True).to_pillow())
        with Image.open(file, formats=[kind]) as image:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))  # a JPEG is decoded at a fraction of its size
            return _shrink(ImageOps.exif_transpose(image))
    except Exception as error:  # whatever damaged data provokes in a codec that is not ours
        raise UnusablePhotoError(f"the {kind} data cannot be decoded ({type(error).__name__})") from None


def _shrink(image: Image.Image) -> bytes:
    image.thumbnail((SIDE, SIDE), reducing_gap=3.0)
    target = io.BytesIO()
    _on_white(image).save(target, "JPEG", quality=QUALITY)
    return target.getvalue()


def _on_white(image: Image.Image) -> Image.Image:
    """Three colours, 8 bits each; 16-bit grey is brought down, what is transparent becomes white."""
    if image.mode.startswith(("I", "F")):
        high = float(image.getextrema()[1])  # type: ignore[arg-type]
        if high > 255:
            image = image.point(lambda value: value * (255.0 / high))
        image = image.convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layers = image.convert("RGBA")
        image = Image.new("RGB", layers.size, "white")
        image.paste(layers, mask=layers.getchannel("A"))
    return image.convert("RGB")
