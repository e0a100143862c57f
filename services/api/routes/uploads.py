"""`/v1/captures/{id}/uploads`: photographs that go straight into the object store, where it is an S3."""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from services.adapters.capture_store import CaptureState
from services.adapters.upload_store import PresignedUpload
from services.api.answers import refusals
from services.api.capture_access import find_capture, view_capture
from services.api.direct_upload import begin_upload, find_upload, refuse, take_staged
from services.api.json_body import read_json
from services.api.links import base_url, capture_url
from services.api.problems import ProblemError
from services.api.upload_lanes import UploadLanes
from services.api.wiring import Authorized, Services, Wired
from services.contract.captures import Capture
from services.contract.uploads import Upload, UploadRecord, UploadRequest, UploadTarget

router = APIRouter(tags=["captures"])

_BODY: dict[str, Any] = {"required": True, "content": {"application/json": {"schema": UploadRequest.model_json_schema()}}}
_LINKS: dict[str, Any] = {
    "completeUpload": {
        "operationId": "completeUpload",
        "parameters": {"capture_id": "$response.body#/capture_id", "upload_id": "$response.body#/id"},
    }
}


@router.post(
    "/v1/captures/{capture_id}/uploads",
    operation_id="createUpload",
    summary="Get URLs for photographs",
    status_code=201,
    response_model=Upload,
    responses={201: {"links": _LINKS}, **refusals(400, 404, 408, 409, 410, 413, 422, 507)},
    openapi_extra={"requestBody": _BODY},
)
async def create_upload(capture_id: str, request: Request, services: Wired, caller: Authorized) -> Response:
    """Announce photographs and get a URL for each that the capture does not have: `PUT` it there, with the headers that are told.

    The bytes do not pass through this service; they are judged when the upload is completed. A `PUT` may be repeated as long as
    the URL works. Where the store is a directory there are no URLs (409 `direct_upload_unavailable`): put each photograph into
    the capture instead.
    """
    await to_thread.run_sync(find_capture, services.captures, caller.tenant, capture_id, limiter=services.store_threads)
    wanted = await read_json(request, UploadRequest)
    begun = await to_thread.run_sync(
        begin_upload, services, caller.tenant, capture_id, wanted.files, limiter=services.store_threads
    )
    body = _view(begun, base_url(request)).model_dump_json()
    return Response(body, 201, {"Cache-Control": "no-store"}, "application/json")


@router.post(
    "/v1/captures/{capture_id}/uploads/{upload_id}/complete",
    operation_id="completeUpload",
    summary="Make what was uploaded part of the capture",
    response_model=Capture,
    responses=refusals(404, 409, 410, 413, 422, 507),
)
async def complete_upload(capture_id: str, upload_id: str, request: Request, services: Wired, caller: Authorized) -> Response:
    """Verify size, sum and content of every photograph that was announced, and make the good ones part of the capture.

    May be repeated. 409 `upload_incomplete`: some have not arrived; send them and complete again. 422: other bytes came than were
    announced, or no photograph; they were removed. `errors` names the files; the others are part of the capture.
    """
    upload = await to_thread.run_sync(find_upload, services, caller.tenant, capture_id, upload_id, limiter=services.store_threads)
    faults = await _take_all(services, caller.tenant, upload)
    if faults:
        raise refuse(faults)
    state = await to_thread.run_sync(_close, services, caller.tenant, upload, limiter=services.store_threads)
    body = view_capture(state, base_url(request), services.settings).model_dump_json()
    return Response(body, headers={"Cache-Control": "no-store"}, media_type="application/json")


async def _take_all(services: Services, tenant: str, upload: UploadRecord) -> list[tuple[int, ProblemError]]:
    faults: dict[int, ProblemError] = {}

    def take(place: int) -> None:
        fault = take_staged(services, tenant, upload, place)
        if fault is not None:
            faults[place] = fault

    async with UploadLanes(services.upload_threads) as lanes:
        for place in range(len(upload.files)):
            await lanes.start(lambda place=place: take(place))  # type: ignore[misc]
        await lanes.finish()
    return sorted(faults.items())


def _close(services: Services, tenant: str, upload: UploadRecord) -> CaptureState:
    services.uploads.close(upload)
    return find_capture(services.captures, tenant, upload.capture_id)


def _view(begun: PresignedUpload, base: str) -> Upload:
    record = begun.record
    complete = f"{capture_url(base, record.capture_id)}/uploads/{record.id}/complete"
    return Upload(
        id=record.id,
        capture_id=record.capture_id,
        expires_at=begun.expires_at,
        files=[UploadTarget(name=file.name, url=put.url, headers=put.headers) for file, put in zip(record.files, begun.puts)],
        links={"complete": complete, "capture": capture_url(base, record.capture_id)},
    )
