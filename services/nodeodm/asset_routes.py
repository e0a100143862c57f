"""A task's results: one zip of all, or file by file under the names that the API gives them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from services.api.problems import ProblemError
from services.api.routes.artifacts import download_artifact, download_artifacts
from services.api.wiring import Wired
from services.contract.codes import ProblemCode
from services.nodeodm.tasks import find_started_task
from services.nodeodm.token_access import TokenHolder

router = APIRouter(prefix="/task")

ARCHIVE = "all.zip"


@router.get("/{task_uuid}/download/{asset:path}")
async def download(
    task_uuid: str,
    asset: str,
    request: Request,
    services: Wired,
    caller: TokenHolder,
    range_: Annotated[str | None, Header(alias="Range")] = None,
    if_range: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Give `all.zip`, packed as it is sent, or one file of the result, with ranges."""
    _, job = await find_started_task(task_uuid, services, caller)
    names = [file.name for file in job.record.result.artifacts] if job.record.result else []
    if not names or asset not in (ARCHIVE, *names):
        known = ", ".join([ARCHIVE, *names]) if names else f"nothing, it is {job.record.status.value}"
        raise ProblemError(404, ProblemCode.NOT_FOUND, f"the task has no asset {asset[:100]!r}; it has {known}")
    if asset == ARCHIVE:
        return await download_artifacts(job.record.id, request, services, caller)
    return await download_artifact(job.record.id, asset, request, services, caller, range_, if_range, if_none_match)
