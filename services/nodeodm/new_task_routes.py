"""Tasks on their way in: in one request, or begun, filled by parallel uploads, and committed."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Request, Response

from services.api.wiring import Wired
from services.nodeodm.photo_upload import receive_images, require_open
from services.nodeodm.request_fields import read_fields, read_image_parts
from services.nodeodm.tasks import begin_task, commit_task, discard_task, find_task, settle_task
from services.nodeodm.token_access import TokenHolder

router = APIRouter(prefix="/task/new")

ChosenUuid = Annotated[str, Header(alias="set-uuid", description="The task's UUID; else one is made")]


@router.post("/init")
async def begin(request: Request, services: Wired, caller: TokenHolder, chosen: ChosenUuid = "") -> dict[str, Any]:
    """Begin a task: its name, options and outputs; images follow."""
    task = await begin_task(chosen or str(uuid.uuid4()), await read_fields(request), services, caller.tenant)
    return {"uuid": task.document.uuid}


@router.post("/upload/{task_uuid}")
async def upload(task_uuid: str, request: Request, services: Wired, caller: TokenHolder) -> dict[str, Any]:
    """Take images of a task that was begun; the same image may come again."""
    task = await find_task(task_uuid, services, caller)
    await to_thread.run_sync(require_open, services, caller.tenant, task.capture_id, limiter=services.store_threads)
    files, _ = await receive_images(
        request, services, caller.tenant, task.capture_id, read_image_parts(request, services.settings)
    )
    return {"success": True} if files else {"error": "no file came; images come as parts named 'images'"}


@router.post("/commit/{task_uuid}")
async def commit(task_uuid: str, request: Request, services: Wired, caller: TokenHolder) -> Response:
    """Put a task that has its images into the queue."""
    return await commit_task(await find_task(task_uuid, services, caller), request, services, caller.tenant)


@router.post("")
async def create(request: Request, services: Wired, caller: TokenHolder, chosen: ChosenUuid = "") -> Response:
    """Make a task of one form with images and options in any order. A task that is refused leaves nothing."""
    task = await begin_task(chosen or str(uuid.uuid4()), {}, services, caller.tenant)
    try:
        parts = read_image_parts(request, services.settings)
        _, fields = await receive_images(request, services, caller.tenant, task.capture_id, parts)
        task = await settle_task(task, fields, services, caller.tenant)
        return await commit_task(task, request, services, caller.tenant)
    except BaseException:
        await discard_task(task, services)
        raise
