"""A task's life over our own captures and jobs: begun, committed, restarted, canceled, removed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from anyio import to_thread
from fastapi import Request, Response
from fastapi.responses import JSONResponse

from services.adapters.objects import ObjectStoreError
from services.api.acceptance import Accepted
from services.api.auth import Caller
from services.api.body import require_room
from services.api.capture_access import find_capture
from services.api.capture_submission import CaptureSubmission
from services.api.idempotency import submit
from services.api.job_access import find_job, wait_for_job
from services.api.job_snapshot import JobSnapshot
from services.api.photo_intake import PhotoStore
from services.api.problems import ProblemError
from services.api.routes.jobs import cancel_job, delete_job
from services.api.submission_form import read_form
from services.api.wiring import Services
from services.contract import keys
from services.contract.codes import ProblemCode
from services.contract.outputs import OUTPUTS
from services.contract.states import JobStatus
from services.contract.webhooks import WebhookRequest
from services.nodeodm.option_table import read_options, wanted_of
from services.nodeodm.request_fields import Fields
from services.nodeodm.task_document import (
    LABEL,
    TaskDocument,
    TaskOption,
    capture_id_of,
    note_job,
    noted_job,
    read_task,
    read_uuid,
    task_exists,
    write_task,
)

REMOVE_WITHIN_S = 25.0  # a task that runs is stopped before it is removed; clients wait for half a minute


@dataclass(frozen=True)
class Task:
    """A task, and its job as it stands; no job before the task is committed."""

    document: TaskDocument
    capture_id: str
    job: JobSnapshot | None


async def begin_task(uuid: str, fields: Fields, services: Services, tenant: str) -> Task:
    """Keep what a client asks for, and make its capture; raises ProblemError."""
    document = await _read_wishes(uuid, fields, services, tenant)
    await to_thread.run_sync(_create, services, tenant, document, limiter=services.store_threads)
    return Task(document, capture_id_of(tenant, document.uuid), None)


async def settle_task(task: Task, fields: Fields, services: Services, tenant: str) -> Task:
    """Keep what a client asks for that came after its images; raises ProblemError."""
    document = await _read_wishes(task.document.uuid, fields, services, tenant)
    await to_thread.run_sync(write_task, services.objects, tenant, document, False, limiter=services.store_threads)
    return replace(task, document=document)


async def discard_task(task: Task, services: Services) -> None:
    """Remove what came of a task that is refused, also while the request itself is being canceled."""
    await asyncio.shield(to_thread.run_sync(_delete, services, task.capture_id, limiter=services.store_threads))


async def _read_wishes(uuid: str, fields: Fields, services: Services, tenant: str) -> TaskDocument:
    if fields.get("zipurl"):
        raise ProblemError(422, ProblemCode.INVALID_REQUEST, "zipurl is not supported here; upload the images")
    webhook = WebhookRequest(url=fields["webhook"][:2000]) if fields.get("webhook") else None
    now = datetime.now(UTC)
    task = TaskDocument(
        uuid=read_uuid(uuid),
        name=fields.get("name", "")[:500] or f"Task of {now.isoformat(timespec='seconds')}",
        created_at=now,
        options=read_options(fields.get("options", "")),
        outputs=_read_outputs(fields.get("outputs", "")),
        webhook=await services.webhook_door.admit(webhook, tenant),
    )
    _form_of(task, task.options)  # whatever is wrong with the options is said now, not after the upload
    return task


async def find_task(uuid: str, services: Services, caller: Caller) -> Task:
    """Find a task that the caller may see; raises ProblemError. One whose job was deleted over the API has none."""
    task, jobs = await to_thread.run_sync(_read, services, caller.tenant, uuid, limiter=services.store_threads)
    if not jobs:
        return task
    try:
        return replace(task, job=await find_job(services, caller, max(jobs)))
    except ProblemError as error:
        if error.code in (ProblemCode.GONE, ProblemCode.NOT_FOUND):
            return task
        raise


async def find_started_task(uuid: str, services: Services, caller: Caller) -> tuple[Task, JobSnapshot]:
    """Find a task that was committed; raises ProblemError."""
    task = await find_task(uuid, services, caller)
    if task.job is None:
        raise _no_task(uuid)
    return task, task.job


async def commit_task(task: Task, request: Request, services: Services, tenant: str) -> Response:
    """Make a task's job, once however often it is asked for; answers `{"uuid": …}`. Raises ProblemError."""
    if task.job is not None:
        return JSONResponse({"uuid": task.document.uuid})
    return await _submit(task, task.document.options, f"nodeodm.{task.document.uuid}.commit", request, services, tenant)


async def restart_task(
    task: Task, job: JobSnapshot, options: str | None, request: Request, services: Services, caller: Caller
) -> None:
    """Do a task that has ended again, with other options if some are given; its result so far goes. Raises ProblemError."""
    if not job.record.terminal:
        detail = f"task {task.document.uuid} is {job.record.status.value}; cancel it first"
        raise ProblemError(409, ProblemCode.CONFLICT, detail)
    chosen = task.document.options if options is None else read_options(options)
    await _submit(task, chosen, f"nodeodm.{task.document.uuid}.after.{job.record.id}", request, services, caller.tenant)
    with contextlib.suppress(ProblemError):  # another restart has removed it
        await delete_job(job.record.id, services, caller)


async def cancel_task(job: JobSnapshot, request: Request, services: Services, caller: Caller) -> None:
    """Stop a task; one that is canceled already stays so. Raises ProblemError."""
    if job.record.status not in (JobStatus.CANCELED, JobStatus.CANCELING):
        await cancel_job(job.record.id, request, services, caller)


async def remove_task(task: Task, request: Request, services: Services, caller: Caller) -> None:
    """Remove a task with its photographs and results, stopping it first. Raises ProblemError."""
    if task.job is not None:
        job = task.job
        if not job.record.terminal:
            await cancel_task(job, request, services, caller)
            job = await wait_for_job(services, caller, job.record.id, REMOVE_WITHIN_S, lambda now: now.record.terminal)
        await delete_job(job.record.id, services, caller)
    await to_thread.run_sync(_delete, services, task.capture_id, limiter=services.store_threads)


async def _submit(task: Task, options: list[TaskOption], key: str, request: Request, services: Services, tenant: str) -> Response:
    wanted = replace(read_form(_form_of(task.document, options)), webhook=task.document.webhook)

    async def read(_: PhotoStore) -> CaptureSubmission:
        return CaptureSubmission(task.capture_id, wanted, services, tenant, request.state.request_id)

    async def respond(accepted: Accepted) -> Response:
        with contextlib.suppress(ObjectStoreError):  # the job is accepted; the note is for a time that hardly comes
            job_id = accepted.record.id
            await to_thread.run_sync(note_job, services.objects, task.capture_id, job_id, limiter=services.store_threads)
        return JSONResponse({"uuid": task.document.uuid})

    return await submit(services, tenant, key, read, respond, respond)


def _form_of(task: TaskDocument, options: list[TaskOption]) -> dict[str, list[str]]:
    """Write a task's wishes as the API's form has them, so that they are checked there; raises ProblemError."""
    wanted = wanted_of(options)
    fields = {
        "preset": wanted.get("preset", ""),
        "options": json.dumps(wanted.get("options", {})),
        "outputs": json.dumps([*wanted.get("outputs", []), *task.outputs]),
        "labels": json.dumps({LABEL: task.uuid}),
    }
    form = {name: [text] for name, text in fields.items()}
    read_form(form)
    return form


def _read_outputs(text: str) -> list[str]:
    """Of the files that a client wants in the archive, those that we can make; the others are files of another program."""
    try:
        names = json.loads(text) if text.strip() else []
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ProblemError(422, ProblemCode.INVALID_REQUEST, "outputs: a JSON list of names is wanted")
    return [name for name in names if name in OUTPUTS]


def _create(services: Services, tenant: str, task: TaskDocument) -> None:
    require_room(services.objects, services.settings, 0)
    capture_id = capture_id_of(tenant, task.uuid)
    if services.captures.get(capture_id) is not None:
        raise task_exists(task.uuid)
    write_task(services.objects, tenant, task, True)
    try:
        services.captures.create(tenant, capture_id)
    except BaseException:
        with contextlib.suppress(ObjectStoreError):
            services.objects.delete(keys.capture_task(capture_id))
        raise


def _read(services: Services, tenant: str, uuid: str) -> tuple[Task, list[str]]:
    """Read a task and the ids of its jobs."""
    capture_id = capture_id_of(tenant, read_uuid(uuid))
    try:
        state = find_capture(services.captures, tenant, capture_id)
    except ProblemError:
        raise _no_task(uuid) from None
    document = read_task(services.objects, tenant, read_uuid(uuid))
    if document is None:
        raise _no_task(uuid)
    jobs = state.jobs or (noted_job(services.objects, capture_id) if state.frozen else [])
    return Task(document, capture_id, None), jobs


def _delete(services: Services, capture_id: str) -> None:
    with contextlib.suppress(ObjectStoreError):  # it is marked: the reaper removes what could not be removed now
        services.captures.delete(capture_id)


def _no_task(uuid: str) -> ProblemError:
    return ProblemError(404, ProblemCode.NOT_FOUND, f"{uuid[:60]} not found")
