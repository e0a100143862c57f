"""`POST /v1/reconstructions`: photographs in, a job out."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from services.api.acceptance import Submission
from services.api.accepted_answer import ACCEPTED, answer_accepted
from services.api.answers import refusals
from services.api.capture_submission import receive_json
from services.api.idempotency import IdempotencyKey, submit
from services.api.photo_intake import PhotoStore
from services.api.problems import ProblemError
from services.api.routes.limits import MAX_WAIT_S
from services.api.submission import receive_form
from services.api.submission_form import MAX_DEADLINE_S
from services.api.wiring import Authorized, Wired
from services.contract.captures import LABELS, OUTPUT_NAME, ReconstructionRequest
from services.contract.jobs import Job
from services.contract.webhooks import WebhookRequest

router = APIRouter(tags=["reconstructions"])

_WAIT = re.compile(r'(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?', re.IGNORECASE)

_PNGS: dict[str, Any] = {
    "type": "array",
    "items": {"type": "string", "format": "binary", "contentMediaType": "image/png"},
}
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "images": {
                        "type": "array",
                        "items": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"},
                        "description": "Photographs (JPEG, PNG, WebP, HEIC, TIFF), one part each, every part with a file name.",
                    },
                    "archive": {
                        "type": "string",
                        "format": "binary",
                        "contentMediaType": "application/zip",
                        "description": "One zip of photographs, instead of `images`.",
                    },
                    "cameras": {"$ref": "#/components/schemas/CamerasDocument"},
                    "masks": _PNGS | {"description": "PNGs of the photographs' sizes and names, white where pixels may be used."},
                    "depths": _PNGS | {"description": "16-bit PNGs of the photographs' sizes and names, in millimetres."},
                    "options": {"type": "object"},
                    "preset": {"type": "string", "enum": ["fast", "balanced", "accurate"], "default": "balanced"},
                    "outputs": {
                        "type": "array",
                        "items": OUTPUT_NAME,
                        "description": "A JSON list, names separated by commas, or the part repeated; `GET /v1/info` names them.",
                    },
                    "labels": {"type": "object", **LABELS},
                    "strict_images": {
                        "type": "boolean",
                        "default": False,
                        "description": "Refuse the submission if one photograph cannot be used; else a warning names it.",
                    },
                    "deadline_s": {
                        "type": "number",
                        "exclusiveMinimum": 0,
                        "maximum": MAX_DEADLINE_S,
                        "description": "Seconds from now; then a job that waits is `expired`, one that runs `failed`.",
                    },
                    "webhook": {**WebhookRequest.model_json_schema(), "description": "JSON; where to tell what becomes of it."},
                },
            },
            "encoding": {
                "cameras": {"contentType": "application/json"},
                "options": {"contentType": "application/json"},
                "labels": {"contentType": "application/json"},
                "outputs": {"contentType": "application/json"},
                "webhook": {"contentType": "application/json"},
            },
        },
        "application/json": {"schema": ReconstructionRequest.model_json_schema()},
    },
}


@router.post(
    "/v1/reconstructions",
    operation_id="createReconstruction",
    summary="Submit photographs as a job",
    status_code=202,
    response_model=Job,
    responses={
        200: {"model": Job, "description": "`Prefer: wait` was given and the job ended in time"},
        202: ACCEPTED,
        **refusals(400, 404, 408, 409, 410, 413, 415, 422, 507),
    },
    openapi_extra={"requestBody": _BODY},
)
async def create_reconstruction(
    request: Request,
    services: Wired,
    caller: Authorized,
    prefer: Annotated[str | None, Header(description="`wait=30`: answer when the job has ended, or after 30 s")] = None,
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Make a job of photographs sent in one body, which become a capture of its own, or of a capture that was filled before.

    A capture that a job was made of takes no more photographs; several jobs may be made of it.

    The job is kept before the answer is sent: an answer of 202 means that it will be worked on, whatever restarts. Send an
    `Idempotency-Key` to be able to repeat the request when no answer came: 409 with `Retry-After` says that the first try is
    still at work. A refused request does not use up its key.
    """

    async def read(objects: PhotoStore) -> Submission:
        if is_json(request):
            return await receive_json(request, services, caller.tenant)
        return await receive_form(request, services, caller.tenant, objects)

    respond = partial(answer_accepted, request, services, caller, wait=preferred_wait(prefer))
    at_once = partial(answer_accepted, request, services, caller, wait=None)
    try:
        return await submit(services, caller.tenant, idempotency_key, read, at_once, respond)
    except ProblemError as error:
        services.metrics.refused.labels(error.code.value).inc()
        raise


def is_json(request: Request) -> bool:
    """Whether the body says it is JSON."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def preferred_wait(prefer: str | None) -> int | None:
    """Seconds that a `Prefer` header (RFC 7240) asks to wait, at most `MAX_WAIT_S`."""
    found = _WAIT.search(prefer or "")
    return min(int(found.group(1)), MAX_WAIT_S) if found else None
