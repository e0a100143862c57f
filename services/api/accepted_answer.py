"""What a client hears when its job was accepted, at once or when it has waited for the job's end."""

from __future__ import annotations

import contextlib
from typing import Any

import redis
from fastapi import Request, Response

from services.api.acceptance import Accepted
from services.api.answers import JOB_LINKS, job_answer
from services.api.auth import Caller
from services.api.job_access import wait_for_job
from services.api.job_snapshot import JobSnapshot, read_snapshot
from services.api.links import base_url, job_url
from services.api.wiring import Services
from services.contract.jobs import JobRecord

RETRY_AFTER_S = 2

ACCEPTED: dict[str, Any] = {
    "description": "The job was accepted",
    "headers": {
        "Location": {"schema": {"type": "string"}, "description": "The job"},
        "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds until it is worth asking"},
        "Idempotent-Replayed": {"schema": {"type": "string"}, "description": "`true`: the answer of an earlier try"},
    },
    "links": JOB_LINKS,
}


async def answer_accepted(
    request: Request, services: Services, caller: Caller, accepted: Accepted, wait: int | None = None
) -> Response:
    """Answer 202, or 200 when the job ended within `wait` seconds."""
    snapshot = await _follow(services, caller, accepted.record, wait)
    base = base_url(request)
    headers = {"Location": job_url(base, snapshot.record.id)}
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"
    if wait is not None and snapshot.record.terminal:
        return job_answer(snapshot, base, 200, headers)
    return job_answer(snapshot, base, 202, {**headers, "Retry-After": str(RETRY_AFTER_S)})


async def _follow(services: Services, caller: Caller, record: JobRecord, seconds: int | None) -> JobSnapshot:
    """Read the accepted job, waiting for its end if asked to. It is accepted: a store that fails now changes nothing."""
    snapshot = None
    with contextlib.suppress(redis.RedisError):
        if seconds:
            return await wait_for_job(services, caller, record.id, seconds, lambda now: now.record.terminal)
        snapshot = await read_snapshot(services.jobs, record.id)
    return snapshot or JobSnapshot(record, None, None)
