"""`POST /v1/reconstructions`: photographs in, a job out."""

from __future__ import annotations

import contextlib
import re
from functools import partial
from typing import Annotated, Any

import redis
from fastapi import APIRouter, Header, Request, Response

from services.api.acceptance import Accepted, Submission
from services.api.answers import JOB_LINKS, job_answer, refusals
from services.api.auth import Caller
from services.api.idempotency import KEY_PATTERN, submit_once
from services.api.job_access import wait_for_job
from services.api.job_snapshot import JobSnapshot, read_snapshot
from services.api.links import base_url, job_url
from services.api.photo_intake import PhotoStore
from services.api.problems import ProblemError
from services.api.routes.limits import MAX_WAIT_S
from services.api.submission import receive_form
from services.api.wiring import Authorized, Services, Wired
from services.contract.ids import new_id
from services.contract.jobs import Job, JobRecord

router = APIRouter(tags=["reconstructions"])

RETRY_AFTER_S = 2
_WAIT = re.compile(r'(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?', re.IGNORECASE)

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
                    "options": {"type": "object", "description": "JSON; `GET /v1/options` has the schema."},
                    "preset": {"type": "string", "enum": ["fast", "balanced", "accurate"], "default": "balanced"},
                    "outputs": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "A JSON list, names separated by commas, or the part repeated; `GET /v1/info` names them.",
                    },
                    "labels": {
                        "type": "object",
                        "additionalProperties": {"type": "string"},
                        "description": "JSON, names and texts of your own.",
                    },
                    "strict_images": {
                        "type": "boolean",
                        "default": False,
                        "description": "Refuse the submission if one photograph cannot be used; else a warning names it.",
                    },
                },
            },
            "encoding": {
                "options": {"contentType": "application/json"},
                "labels": {"contentType": "application/json"},
                "outputs": {"contentType": "application/json"},
            },
        }
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
        202: {
            "description": "The job was accepted",
            "headers": {
                "Location": {"schema": {"type": "string"}, "description": "The job"},
                "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds until it is worth asking"},
                "Idempotent-Replayed": {"schema": {"type": "string"}, "description": "`true`: the answer of an earlier try"},
            },
            "links": JOB_LINKS,
        },
        **refusals(400, 408, 409, 413, 415, 422, 507),
    },
    openapi_extra={"requestBody": _BODY},
)
async def create_reconstruction(
    request: Request,
    services: Wired,
    caller: Authorized,
    prefer: Annotated[str | None, Header(description="`wait=30`: answer when the job has ended, or after 30 s")] = None,
    idempotency_key: Annotated[
        str | None,
        Header(
            pattern=KEY_PATTERN,
            description="Any text of yours, a UUID say. For 24 h the same request under it is answered as the first time, with "
            "`Idempotent-Replayed: true`, and makes no second job; another request under it is refused (422).",
        ),
    ] = None,
) -> Response:
    """Make a job of photographs sent in one body; they become a capture of its own.

    The job is kept before the answer is sent: an answer of 202 means that it will be worked on, whatever restarts. Send an
    `Idempotency-Key` to be able to repeat the request when no answer came: 409 with `Retry-After` says that the first try is
    still at work. A refused request does not use up its key.
    """
    seconds = preferred_wait(prefer)

    async def read(objects: PhotoStore) -> Submission:
        return await receive_form(request, services, caller.tenant, objects)

    async def respond(accepted: Accepted, wait: int | None = seconds) -> Response:
        snapshot = await _follow(services, caller, accepted.record, wait)
        return _answer(snapshot, base_url(request), wait)

    try:
        if idempotency_key is None:
            submission = await read(services.objects)
            return await respond(await submission.accept(new_id("job")))
        return await submit_once(services, caller.tenant, idempotency_key, read, partial(respond, wait=None), respond)
    except ProblemError as error:
        services.metrics.refused.labels(error.code.value).inc()
        raise


def _answer(snapshot: JobSnapshot, base: str, seconds: int | None) -> Response:
    headers = {"Location": job_url(base, snapshot.record.id)}
    if seconds is not None:
        headers["Preference-Applied"] = f"wait={seconds}"
    if snapshot.record.terminal:
        return job_answer(snapshot, base, 200, headers)
    return job_answer(snapshot, base, 202, {**headers, "Retry-After": str(RETRY_AFTER_S)})


def preferred_wait(prefer: str | None) -> int | None:
    """Seconds that a `Prefer` header (RFC 7240) asks to wait, at most `MAX_WAIT_S`."""
    found = _WAIT.search(prefer or "")
    return min(int(found.group(1)), MAX_WAIT_S) if found else None


async def _follow(services: Services, caller: Caller, record: JobRecord, seconds: int | None) -> JobSnapshot:
    """Read the accepted job, waiting for its end if asked to. It is accepted: a store that fails now changes nothing."""
    snapshot = None
    with contextlib.suppress(redis.RedisError):
        if seconds:
            return await wait_for_job(services, caller, record.id, seconds, lambda now: now.record.terminal)
        snapshot = await read_snapshot(services.jobs, record.id)
    return snapshot or JobSnapshot(record, None, None)
