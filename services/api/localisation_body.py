"""The body of a request that brings a photograph to be localised or kept: multipart with a JSON part, or the bare bytes."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import Request
from pydantic import ValidationError

from services.adapters.settings import Settings
from services.api.body import body_chunks, declared_length
from services.api.multipart_body import SPOOL_BYTES, FilePart, MultipartBody, TextPart, too_large
from services.api.photos import PHOTO_FORMATS
from services.api.problems import ProblemError, invalid_field, json_pointer
from services.contract.codes import ProblemCode
from services.contract.jobs import Model
from services.contract.problems import FieldError

FORM_OVERHEAD_BYTES = 2 << 20  # text parts, part headers and boundaries, beyond the photographs
MAX_JSON_BYTES = 1 << 20
_RAW = {*PHOTO_FORMATS.values(), "application/octet-stream", "image/jpg"}

M = TypeVar("M", bound=Model)


@dataclass
class PhotoBody:
    """What came."""

    image: bytes | None = None
    references: list[tuple[str, bytes]] = field(default_factory=list)  # file name, bytes
    document: dict[str, Any] | None = None  # of the JSON part; None: there was none


async def read_photo_body(request: Request, settings: Settings, json_part: str, max_references: int = 0) -> PhotoBody:
    """Read a photograph and what is said about it.

    Raises:
        ProblemError: 415 for another media type, 413 beyond a limit, 422 for a part that is wrong or missing.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    limit = settings.localisation_max_photo_bytes
    if kind in _RAW:
        body = PhotoBody(image=await _read_raw(request, limit))
    elif kind == "multipart/form-data":
        body = await _read_form(request, settings, json_part, max_references)
    else:
        detail = f"Content-Type is {kind[:80]!r}; send multipart/form-data with 'image' and '{json_part}', or image/jpeg"
        accepted = {"Accept-Post": "multipart/form-data, image/jpeg"}
        raise ProblemError(415, ProblemCode.UNSUPPORTED_MEDIA_TYPE, detail, headers=accepted)
    if body.image is None:
        raise invalid_field("/image", "the photograph is missing (curl: -F image=@photo.jpg)", ProblemCode.INVALID_IMAGE)
    return body


def parse_document(model: type[M], document: dict[str, Any]) -> M:
    """Read a JSON document.

    Raises:
        ProblemError: 422 that points to every value that is wrong; invalid_intrinsics when a camera is.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        faults = [(e["loc"], FieldError(pointer=json_pointer(e["loc"]), message=_explain(e))) for e in error.errors()]
        camera = any("intrinsics" in places for places, _ in faults)
        code = ProblemCode.INVALID_INTRINSICS if camera else ProblemCode.INVALID_REQUEST
        detail = "; ".join(f"{fault.pointer.lstrip('/')}: {fault.message}" for _, fault in faults[:5])
        raise ProblemError(422, code, detail, [fault for _, fault in faults]) from None


async def _read_raw(request: Request, limit: int) -> bytes:
    if declared_length(request) > limit:
        raise _photo_too_large("/image", limit)
    data = bytearray()
    async for chunk in body_chunks(request):
        data += chunk
        if len(data) > limit:
            raise _photo_too_large("/image", limit)
    return bytes(data)


async def _read_form(request: Request, settings: Settings, json_part: str, max_references: int) -> PhotoBody:
    most = settings.localisation_max_query_bytes if max_references else settings.localisation_max_photo_bytes
    total = most + FORM_OVERHEAD_BYTES
    if declared_length(request) > total:
        raise too_large("", f"the body has {declared_length(request)} bytes; the limit is {total}")
    limits = _Limits(settings.localisation_max_photo_bytes, json_part, max_references)
    form = MultipartBody(request.headers.get("content-type", ""), total, limits.of_part)
    body = PhotoBody()
    async with contextlib.aclosing(form.parts(body_chunks(request))) as parts:
        async for part in parts:
            if part.name == json_part:
                if body.document is not None:
                    raise invalid_field(f"/{json_part}", "given twice")
                body.document = _read_json(json_part, part)
            elif isinstance(part, TextPart):
                raise _no_file(part.name, limits.known)
            elif part.name == "image":
                if body.image is not None:
                    raise invalid_field("/image", "given twice; one photograph is localised at a time")
                body.image = await _read_file(part)
            else:
                body.references.append((part.filename, await _read_file(part)))
    return body


class _Limits:
    """How many bytes a file part may have, asked when its headers have come and its bytes have not."""

    def __init__(self, photo_bytes: int, json_part: str, max_references: int) -> None:
        self.known = ["image", *(["references"] if max_references else []), json_part]
        self._photo_bytes = photo_bytes
        self._json_part = json_part
        self._max_references = max_references
        self._references = 0

    def of_part(self, name: str) -> int:
        """The limit of the next file part with this name; raises ProblemError when it may not come at all."""
        if name not in self.known:
            raise _no_file(name, self.known)
        if name == "references":
            self._references += 1
            if self._references > self._max_references:
                raise too_many_references(self._references, self._max_references)
        return MAX_JSON_BYTES if name == self._json_part else self._photo_bytes


def too_many_references(count: int, limit: int) -> ProblemError:
    """More references than one query may have."""
    detail = f"{count} references or more at once; the limit is {limit}. Send those that look most like the query"
    error = FieldError(pointer="/references", message=detail)
    return ProblemError(422, ProblemCode.TOO_MANY_REFERENCES, detail, [error])


async def _read_file(part: FilePart) -> bytes:
    with part.file:
        if part.file.seek(0, 2) <= SPOOL_BYTES:  # in memory
            part.file.seek(0)
            return part.file.read()
        part.file.seek(0)
        return await to_thread.run_sync(part.file.read)


def _read_json(name: str, part: TextPart | FilePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        text: str | bytes = part.text
    else:
        with part.file:  # curl: -F query=@query.json
            text = part.file.read()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid_field(f"/{name}", f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise invalid_field(f"/{name}", "a JSON object is wanted")
    return document


def _explain(error: Any) -> str:
    given = error.get("input")
    shown = "" if isinstance(given, (dict, list)) else f", got {ascii(given)[:40]}"  # it may hold what is no Unicode
    return f"{error['msg']}{shown}"


def _no_file(name: str, known: list[str]) -> ProblemError:
    if name in known:
        return invalid_field(f"/{name}", f"a file name is missing (curl: -F {name}=@photo.jpg)")
    return invalid_field(f"/{name[:50]}", f"no such part; known: {', '.join(known)}")


def _photo_too_large(pointer: str, limit: int) -> ProblemError:
    return too_large(pointer, f"the photograph has more than {limit} bytes, the limit")
