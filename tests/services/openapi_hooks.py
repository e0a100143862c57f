"""What the fuzzer of the OpenAPI document cannot make by itself: photographs, masks and depth maps that are good."""

from __future__ import annotations

import io
import zipfile

import schemathesis
from hypothesis import strategies as st
from PIL import Image

SIZE = (32, 24)


def encode(mode: str, colour: int | tuple[int, int, int], form: str) -> bytes:
    """A picture of one colour."""
    buffer = io.BytesIO()
    Image.new(mode, SIZE, colour).save(buffer, form)
    return buffer.getvalue()


def pack(photos: list[bytes]) -> bytes:
    """A zip of photographs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, photo in enumerate(photos):
            archive.writestr(f"photo-{number}.jpg", photo)
    return buffer.getvalue()


JPEGS = [encode("RGB", (shade, 120, 60), "JPEG") for shade in (20, 90, 160, 230)]
MASK = encode("L", 255, "PNG")
DEPTH = encode("I;16", 1500, "PNG")
BROKEN = [b"", JPEGS[0][:60], b"GIF89a" + bytes(40), bytes(300)]

schemathesis.openapi.format("binary", st.sampled_from([*JPEGS, MASK, DEPTH, pack(JPEGS), *BROKEN]))
schemathesis.openapi.media_type("image/jpeg", st.sampled_from([*JPEGS, *BROKEN]))
schemathesis.openapi.media_type("image/png", st.sampled_from([MASK, DEPTH, *BROKEN]))
schemathesis.openapi.media_type("application/octet-stream", st.sampled_from([*JPEGS, MASK, *BROKEN]))
