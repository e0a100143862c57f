"""Tasks that are in the queue: looked at, listed, canceled, restarted, removed."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from services.api.job_snapshot import JobSnapshot
from services.api.problems import ProblemError, invalid_field
from services.api.wiring import Services, Wired
from services.nodeodm.console_lines import console_lines, cut_lines
from services.nodeodm.error_form import TOLD_BY_STATUS
from services.nodeodm.photo_upload import unread_files
from services.nodeodm.request_fields import Fields, read_fields
from services.nodeodm.task_document import LABEL
from services.nodeodm.task_view import view_task
from services.nodeodm.tasks import Task, cancel_task, find_started_task, find_task, remove_task, restart_task
from services.nodeodm.token_access import TokenHolder

router = APIRouter(prefix="/task")

PAGE = 200
EVENTS = 2_000  # more than are kept of a job

FirstLine = Annotated[int, Query(ge=-(10**9), le=10**9)]


@router.get("/list")
async def list_tasks(services: Wired, caller: TokenHolder) -> list[dict[str, str]]:
    """List the caller's tasks, newest first."""
    found: dict[str, None] = {}
    cursor: str | None = None
    while True:
        records, cursor = await services.jobs.list(caller.tenant, None, LABEL, cursor, PAGE)
        found.update(dict.fromkeys(record.labels[LABEL] for record in records if record.deleted_at is None))
        if cursor is None:
            return [{"uuid": uuid} for uuid in found]


@router.get("/{task_uuid}/info")
async def get_task(
    task_uuid: str, services: Wired, caller: TokenHolder, with_output: Annotated[FirstLine | None, Query()] = None
) -> Response:
    """Tell how far a task is; with `with_output` also its console's lines from that number on."""
    task, job = await find_started_task(task_uuid, services, caller)
    view = view_task(task.document, job)
    if with_output is not None:
        view["output"] = cut_lines(await _console(task, job, services), with_output)
    return JSONResponse(view, headers={"Cache-Control": "no-store"})


@router.get("/{task_uuid}/output")
async def get_output(task_uuid: str, services: Wired, caller: TokenHolder, line: FirstLine = 0) -> list[str]:
    """Give a task's console from a line on; a negative number counts from the end."""
    task, job = await find_started_task(task_uuid, services, caller)
    return cut_lines(await _console(task, job, services), line)


@router.post("/cancel")
async def cancel(request: Request, services: Wired, caller: TokenHolder) -> dict[str, Any]:
    """Stop a task, or keep it from being begun."""
    _, job = await find_started_task(_uuid_in(await read_fields(request)), services, caller)
    return await _obey(cancel_task(job, request, services, caller))


@router.post("/remove")
async def remove(request: Request, services: Wired, caller: TokenHolder) -> dict[str, Any]:
    """Stop a task, and remove it with its images and results."""
    task = await find_task(_uuid_in(await read_fields(request)), services, caller)
    return await _obey(remove_task(task, request, services, caller))


@router.post("/restart")
async def restart(request: Request, services: Wired, caller: TokenHolder) -> dict[str, Any]:
    """Do a task that has ended again, on the same images."""
    fields = await read_fields(request)
    task, job = await find_started_task(_uuid_in(fields), services, caller)
    return await _obey(restart_task(task, job, fields.get("options"), request, services, caller))


async def _console(task: Task, job: JobSnapshot, services: Services) -> list[str]:
    events = await services.jobs.events(job.record.id, count=EVENTS)
    unread = await to_thread.run_sync(unread_files, services, task.capture_id, limiter=services.store_threads)
    return console_lines(job.record, events, unread)


async def _obey(command: Awaitable[None]) -> dict[str, Any]:
    """Commands answer whether they were carried out, and if not why."""
    try:
        await command
    except ProblemError as error:
        if error.status in TOLD_BY_STATUS:
            raise
        return {"success": False, "error": error.detail}
    return {"success": True}


def _uuid_in(fields: Fields) -> str:
    if "uuid" not in fields:
        raise invalid_field("/uuid", "it is missing")
    return fields["uuid"]
