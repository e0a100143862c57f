"""Bodies as clients of this protocol send them: forms of either kind, or JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

from fastapi import Request

from services.adapters.settings import Settings
from services.api.body import body_chunks
from services.api.multipart_body import MAX_TEXT_BYTES, FilePart, MultipartBody, TextPart, too_large
from services.api.problems import ProblemError, invalid_field
from services.api.submission import FORM_OVERHEAD_BYTES
from services.contract.codes import ProblemCode

Fields = dict[str, str]


async def read_fields(request: Request) -> Fields:
    """Read a body of short texts.

    Raises:
        ProblemError: it is too large, malformed, or holds a file.
    """
    kind = media_type(request)
    if kind == "multipart/form-data":
        fields: Fields = {}
        async for part in read_parts(request, MAX_TEXT_BYTES, 0):
            assert isinstance(part, TextPart)  # a file is refused where it begins
            fields[part.name] = part.text
        return fields
    body = bytearray()
    async for chunk in body_chunks(request):
        body += chunk
        if len(body) > MAX_TEXT_BYTES:
            raise too_large("", f"the body has more than {MAX_TEXT_BYTES} bytes, the limit")
    return _read_json(bytes(body)) if kind == "application/json" else _read_form(bytes(body))


def read_parts(request: Request, max_bytes: int, max_file_bytes: int) -> AsyncIterator[TextPart | FilePart]:
    """Give the parts of a multipart form; whoever receives a file closes it. Raises ProblemError."""

    def limit_of(name: str) -> int:
        if name != "images" or max_file_bytes == 0:
            raise invalid_field(f"/{name[:50]}", "no such file part; images come as 'images'")
        return max_file_bytes

    if media_type(request) != "multipart/form-data":
        detail = f"Content-Type is {media_type(request)[:80]!r}; multipart/form-data is wanted"
        raise ProblemError(415, ProblemCode.UNSUPPORTED_MEDIA_TYPE, detail)
    body = MultipartBody(request.headers["content-type"], max_bytes, limit_of)
    return body.parts(body_chunks(request))


def read_image_parts(request: Request, settings: Settings) -> AsyncIterator[TextPart | FilePart]:
    """Give the parts of a form with images. Raises ProblemError."""
    return read_parts(request, settings.max_capture_bytes + FORM_OVERHEAD_BYTES, settings.max_photo_bytes)


def media_type(request: Request) -> str:
    """What the body says it is."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _read_json(body: bytes) -> Fields:
    try:
        read = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, ProblemCode.INVALID_REQUEST, f"the body is not JSON: {error}") from None
    if not isinstance(read, dict):
        raise ProblemError(400, ProblemCode.INVALID_REQUEST, "the body is not a JSON object")
    return {
        str(name): value if isinstance(value, str) else json.dumps(value) for name, value in read.items() if value is not None
    }


def _read_form(body: bytes) -> Fields:
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=200))
    except ValueError:
        raise ProblemError(400, ProblemCode.INVALID_REQUEST, "the body is not a form") from None
