"""`/v1/jobs`: look at jobs, wait for them, stop them, delete them."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Annotated, Any

import redis
from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response

from services.adapters.objects import ObjectStoreError
from services.adapters.retention import remove_data
from services.api.accepted_answer import ACCEPTED, answer_accepted
from services.api.answers import job_answer, refusals
from services.api.idempotency import IdempotencyKey, submit
from services.api.job_access import find_job, wait_for_job
from services.api.job_snapshot import JobSnapshot, entity_tag, read_snapshots
from services.api.job_views import view_job
from services.api.links import base_url, job_url
from services.api.photo_intake import PhotoStore
from services.api.problems import ProblemError
from services.api.ranges import etag_matches
from services.api.retrying import RetrySubmission
from services.api.routes.limits import DEFAULT_PAGE, MAX_PAGE, MAX_WAIT_S
from services.api.wiring import Authorized, Services, Wired
from services.contract.codes import ProblemCode
from services.contract.ids import JOB_ID_PATTERN
from services.contract.jobs import Job, JobRecord
from services.contract.pages import JobPage
from services.contract.states import JobStatus

router = APIRouter(tags=["jobs"])

_ETAG = {"headers": {"ETag": {"schema": {"type": "string"}, "description": "Changes when the document does"}}}
_UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "Unchanged since the tag in `If-None-Match`"}}


@router.get(
    "/v1/jobs/{job_id}",
    operation_id="getJob",
    summary="Look at a job, or wait for it",
    response_model=Job,
    responses={200: _ETAG, **_UNCHANGED, **refusals(404, 410, 422)},
)
async def get_job(
    job_id: str,
    request: Request,
    services: Wired,
    caller: Authorized,
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for news")] = 0,
    if_none_match: Annotated[str | None, Header(description="The last `ETag`: wait for, or answer, only what is newer")] = None,
) -> Response:
    """Give a job as it is.

    With `wait` the answer comes when the job's state changes, or after that many seconds; with `If-None-Match` beside it, as soon
    as anything in the document differs (progress too), else 304. A job that has ended is answered at once.
    """
    base = base_url(request)
    snapshot = await find_job(services, caller, job_id)
    seen = snapshot.record.version

    def is_news(now: JobSnapshot) -> bool:
        if if_none_match is None:
            return now.record.version != seen
        return not etag_matches(if_none_match, entity_tag(now.body(base)))

    if wait and not snapshot.record.terminal and not (if_none_match and is_news(snapshot)):
        snapshot = await wait_for_job(services, caller, job_id, wait, is_news)
    answer = job_answer(snapshot, base)
    if etag_matches(if_none_match, answer.headers["ETag"]):
        return Response(status_code=304, headers={"ETag": answer.headers["ETag"], "Cache-Control": "no-store"})
    return answer


@router.get(
    "/v1/jobs",
    operation_id="listJobs",
    summary="List jobs, newest first",
    response_model=JobPage,
    responses=refusals(422),
)
async def list_jobs(
    request: Request,
    services: Wired,
    caller: Authorized,
    status: Annotated[JobStatus | None, Query()] = None,
    label: Annotated[str | None, Query(min_length=1, max_length=401, description="`name`, or `name=value`")] = None,
    cursor: Annotated[str | None, Query(pattern=JOB_ID_PATTERN, description="`next_cursor` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
) -> Response:
    """List the caller's jobs; deleted ones are left out."""
    await services.recovery.ensure()
    records, following = await services.jobs.list(caller.tenant, status, label, cursor, limit)
    snapshots = await read_snapshots(services.jobs, [record.id for record in records])
    base = base_url(request)
    items = [view_job(now.record, base, now.progress, now.position) for now in snapshots if now and not now.record.deleted_at]
    page = JobPage(items=items, next_cursor=following)
    return Response(page.model_dump_json(), headers={"Cache-Control": "no-store"}, media_type="application/json")


@router.post(
    "/v1/jobs/{job_id}/cancel",
    operation_id="cancelJob",
    summary="Stop a job",
    status_code=202,
    response_model=Job,
    responses=refusals(404, 409, 410),
)
async def cancel_job(job_id: str, request: Request, services: Wired, caller: Authorized) -> Response:
    """Stop a job: at once while it waits; a worker that has it stops at its next step, the status is `canceling` until then."""
    before = await find_job(services, caller, job_id)
    await services.recovery.ensure()
    record = await services.jobs.request_cancel(job_id)
    if before.record.terminal or record.status not in (JobStatus.CANCELING, JobStatus.CANCELED):
        raise ProblemError(409, ProblemCode.CONFLICT, f"job {job_id} has ended already: it is {record.status.value}")
    await _write_document(services, job_id)
    snapshot = JobSnapshot(record, before.progress, None)
    base = base_url(request)
    return job_answer(snapshot, base, 202, {"Location": job_url(base, job_id)})


@router.post(
    "/v1/jobs/{job_id}/retry",
    operation_id="retryJob",
    summary="Do a job again",
    status_code=202,
    response_model=Job,
    responses={202: ACCEPTED, **refusals(404, 409, 410, 422)},
)
async def retry_job(
    job_id: str, request: Request, services: Wired, caller: Authorized, idempotency_key: IdempotencyKey = ""
) -> Response:
    """Make a new job of one that failed, was canceled or expired: the same wishes, on the same photographs.

    The new job names the old one in `retry_of`; the old one stays as it is. A deadline is as far away as it was then. A job that
    has succeeded or has not ended is refused (409), and so is one whose photographs were deleted.
    """

    async def read(_: PhotoStore) -> RetrySubmission:
        before = (await find_job(services, caller, job_id)).record
        return RetrySubmission(before, services, request.state.request_id)

    respond = partial(answer_accepted, request, services, caller)
    return await submit(services, caller.tenant, idempotency_key, read, respond, respond)


@router.delete(
    "/v1/jobs/{job_id}",
    operation_id="deleteJob",
    summary="Delete a job and its data",
    status_code=204,
    responses=refusals(404, 409, 410),
)
async def delete_job(job_id: str, services: Wired, caller: Authorized) -> Response:
    """Delete a job with its photographs and results; afterwards it answers 410.

    A job that waits is canceled first. One that runs must be canceled, and its end awaited, before it can be deleted (409).
    """
    snapshot = await find_job(services, caller, job_id)
    await services.recovery.ensure()
    record = snapshot.record
    if record.status is JobStatus.QUEUED:
        record = await services.jobs.request_cancel(job_id)
    record = await services.jobs.mark_deleted(job_id) if record.terminal else record
    if record.deleted_at is None:
        detail = f"job {job_id} is {record.status.value}; cancel it (POST /v1/jobs/{job_id}/cancel) and wait until it has ended"
        raise ProblemError(409, ProblemCode.CONFLICT, detail, retryable=True)
    await to_thread.run_sync(_remove, services, record, limiter=services.store_threads)
    return Response(status_code=204)


def _remove(services: Services, record: JobRecord) -> None:
    """Remove the data now; where a store fails, the tombstone makes the reaper do it."""
    with contextlib.suppress(ObjectStoreError, redis.RedisError):
        remove_data(record, services.blocking_jobs, services.documents, services.objects)


async def _write_document(services: Services, job_id: str) -> None:
    """Bring the durable copy up to date; where that fails, the record's mark makes the reaper do it."""
    with contextlib.suppress(ObjectStoreError, redis.RedisError):
        await to_thread.run_sync(services.documents.write, job_id, limiter=services.store_threads)
