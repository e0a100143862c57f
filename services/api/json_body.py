"""A body that is one JSON message."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from services.api.body import body_chunks
from services.api.multipart_body import MAX_TEXT_BYTES, too_large
from services.api.problems import ProblemError, json_pointer
from services.contract.codes import ProblemCode
from services.contract.problems import FieldError

M = TypeVar("M", bound=BaseModel)


async def read_json(request: Request, model: type[M], code: ProblemCode = ProblemCode.INVALID_REQUEST) -> M:
    """Read a body of at most `MAX_TEXT_BYTES`; raises ProblemError (400 when it is no JSON, 413, 422 with `code`)."""
    body = bytearray()
    async for chunk in body_chunks(request):
        body += chunk
        if len(body) > MAX_TEXT_BYTES:
            raise too_large("", f"the body has more than {MAX_TEXT_BYTES} bytes, the limit")
    return validate(_parse(bytes(body)), model, code)


def validate(document: Any, model: type[M], code: ProblemCode = ProblemCode.INVALID_REQUEST, below: str = "") -> M:
    """Read a message; raises ProblemError 422 that points to every fault, `below` a member of the request."""
    try:
        return model.model_validate(document, strict=True)
    except ValidationError as error:
        errors = [FieldError(pointer=below + json_pointer(e["loc"]), message=str(e["msg"])) for e in error.errors()]
        detail = "; ".join(f"{e.pointer.lstrip('/')}: {e.message}" for e in errors[:5])
        raise ProblemError(422, code, detail, errors) from None


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, ProblemCode.INVALID_REQUEST, f"the body is not JSON: {error}") from None
