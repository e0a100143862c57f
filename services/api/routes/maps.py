"""`/v1/maps`: finished scenes, frozen so that photographs can be localised in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from services.adapters.localisation_store import LimitReached
from services.api.answers import refusals
from services.api.job_access import find_job
from services.api.links import base_url
from services.api.localisation_access import find_records, map_url, view_map
from services.api.problems import ProblemError, invalid_field
from services.api.wiring import Authorized, Wired
from services.contract.codes import ProblemCode
from services.contract.ids import id_pattern, is_id, new_id
from services.contract.localisation_records import LocalisationMap, MapPage, MapRecord, MapRequest
from services.contract.states import JobStatus

router = APIRouter(tags=["localisation"])

PAGE = 50
_LINKS: dict[str, Any] = {
    operation: {"operationId": operation, "parameters": {"map_id": "$response.body#/id"}}
    for operation in ("getMap", "deleteMap", "localizeInMap")
}


@router.post(
    "/v1/maps",
    operation_id="createMap",
    summary="Freeze a finished job into a map",
    status_code=202,
    response_model=LocalisationMap,
    responses={
        202: {"headers": {"Location": {"schema": {"type": "string"}, "description": "The map"}}, "links": _LINKS},
        **refusals(400, 404, 409, 410, 422, 507),
    },
)
async def create_map(wanted: MapRequest, request: Request, services: Wired, caller: Authorized) -> Response:
    """Freeze the scene of a job that succeeded: its photographs, cameras and depths, as they are then.

    The map is `building`, then `ready` or `failed`; it lives on when the job is deleted. Its frame is that of `poses.json`,
    component 0.
    """
    job = (await find_job(services, caller, wanted.job_id)).record
    if job.status is not JobStatus.SUCCEEDED:
        detail = f"job {job.id} is {job.status.value}; a map is made of a job that succeeded"
        raise ProblemError(409, ProblemCode.CONFLICT, detail, retryable=not job.terminal)
    now, limit = datetime.now(UTC), services.settings.max_kept_maps
    map_id = new_id("map")
    record = MapRecord(
        id=map_id,
        tenant=caller.tenant,
        name=wanted.name or map_id,
        job_id=job.id,
        created_at=now,
        retention_until=now + timedelta(days=services.settings.map_retention_days),
    )
    await to_thread.run_sync(services.quotas.require_room, caller.tenant, 0, 0, limiter=services.store_threads)
    try:
        await to_thread.run_sync(services.maps.create, record, limit, limiter=services.store_threads)
    except LimitReached:
        detail = f"{limit} maps are kept, the limit; delete some (DELETE /v1/maps/{{id}})"
        raise ProblemError(409, ProblemCode.LIMIT_REACHED, detail) from None
    base = base_url(request)
    headers = {"Location": map_url(base, record.id), "Retry-After": "5", "Cache-Control": "no-store"}
    return Response(view_map(record, base).model_dump_json(), 202, headers, "application/json")


@router.get("/v1/maps", operation_id="listMaps", summary="List maps", response_model=MapPage, responses=refusals(422))
async def list_maps(
    request: Request,
    services: Wired,
    caller: Authorized,
    cursor: Annotated[str | None, Query(json_schema_extra={"pattern": id_pattern("map")})] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = PAGE,
) -> Response:
    """List the maps, newest first."""
    if cursor is not None and not is_id("map", cursor):
        raise invalid_field("/query/cursor", f"{cursor[:60]!r}; it must be a next_cursor of an earlier page")

    def read() -> MapPage:
        records, following = services.maps.page(caller.tenant, cursor, limit)
        base = base_url(request)
        return MapPage(items=[view_map(each, base) for each in records], next_cursor=following)

    page = await to_thread.run_sync(read, limiter=services.store_threads)
    return Response(page.model_dump_json(), 200, {"Cache-Control": "no-store"}, "application/json")


@router.get(
    "/v1/maps/{map_id}", operation_id="getMap", summary="See a map", response_model=LocalisationMap, responses=refusals(404)
)
async def get_map(map_id: str, request: Request, services: Wired, caller: Authorized) -> Response:
    """Give a map's status and what it holds."""
    (record,) = await find_records(services.maps, services, caller, [map_id])
    body = view_map(record, base_url(request)).model_dump_json()
    return Response(body, 200, {"Cache-Control": "no-store"}, "application/json")


@router.delete("/v1/maps/{map_id}", operation_id="deleteMap", summary="Delete a map", status_code=204, responses=refusals(404))
async def delete_map(map_id: str, services: Wired, caller: Authorized) -> Response:
    """Delete a map with all it holds; afterwards it answers 404. The job stays."""
    (record,) = await find_records(services.maps, services, caller, [map_id])
    await to_thread.run_sync(services.maps.delete, record, limiter=services.store_threads)
    return Response(status_code=204)
