"""Photographs of queries and references, from bytes to pixels."""

from __future__ import annotations

import io

import pillow_heif
from PIL import Image

from services.contract.localisation import CameraIntrinsics
from services.worker.localisation_engine import DecodedPhoto


class UnreadablePhoto(Exception):
    """A photograph cannot be decoded."""

    code = "invalid_image"

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")


def decode_photo(name: str, data: bytes, intrinsics: CameraIntrinsics | None) -> DecodedPhoto:
    """Read the pixels of a photograph; its header was checked when it came in.

    Raises:
        UnreadablePhoto: the pixels cannot be decoded.
    """
    pillow_heif.register_heif_opener()
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # whatever hostile bytes provoke in a codec
        raise UnreadablePhoto(name, f"its pixels cannot be decoded ({type(error).__name__}); send the photograph again") from None
    return DecodedPhoto(name, image, intrinsics)
