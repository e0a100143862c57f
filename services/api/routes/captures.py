"""`/v1/captures`: sets of photographs, filled one by one; every step can be repeated."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Request, Response

from services.adapters.capture_store import CaptureState
from services.adapters.objects import ObjectStoreError
from services.api.answers import refusals
from services.api.body import require_room
from services.api.capture_access import capture_gone, find_capture, view_capture
from services.api.capture_upload import receive_photo
from services.api.links import base_url, capture_url
from services.api.photo_names import MAX_NAME_BYTES
from services.api.photos import PHOTO_FORMATS
from services.api.problems import ProblemError
from services.api.wiring import Authorized, Services, Wired
from services.contract.captures import Capture
from services.contract.codes import ProblemCode
from services.contract.jobs import ImageInput

router = APIRouter(tags=["captures"])

NAME_PATTERN = r"^[^\x00-\x1f\x7f/\\. ][^\x00-\x1f\x7f/\\]*$"
DIGEST_PATTERN = r"^(sha-(256=:[A-Za-z0-9+/]{43}=|512=:[A-Za-z0-9+/]{86}==):)?$"  # what is sent; any list of sums is read

_BYTES = {"schema": {"type": "string", "format": "binary"}}
_PHOTO: dict[str, Any] = {
    "required": True,
    "content": dict.fromkeys((*PHOTO_FORMATS.values(), "application/octet-stream"), _BYTES),
}
_LINKS: dict[str, Any] = {
    operation: {"operationId": operation, "parameters": {"capture_id": "$response.body#/id"}}
    for operation in (
        "getCapture",
        "putCaptureImage",
        "createUpload",
        "putCaptureCameras",
        "getCaptureCameras",
        "deleteCaptureCameras",
        "putCaptureMask",
        "putCaptureDepth",
        "getCaptureLinks",
        "deleteCapture",
    )
}
_PUT_LINKS: dict[str, Any] = {
    "createReconstruction": {
        "operationId": "createReconstruction",
        "requestBody": {"capture_id": "$request.path.capture_id"},
        "description": "Make a job of the capture",
    },
    **{
        operation: {
            "operationId": operation,
            "parameters": {"capture_id": "$request.path.capture_id", "name": "$request.path.name"},
        }
        for operation in ("getCaptureThumbnail", "putCaptureMask", "putCaptureDepth", "deleteCaptureMask", "deleteCaptureDepth")
    },
}


@router.post(
    "/v1/captures",
    operation_id="createCapture",
    summary="Begin a set of photographs",
    status_code=201,
    response_model=Capture,
    responses={
        201: {"headers": {"Location": {"schema": {"type": "string"}, "description": "The capture"}}, "links": _LINKS},
        **refusals(507),
    },
)
async def create_capture(request: Request, services: Wired, caller: Authorized) -> Response:
    """Make an empty capture. It tells its limits and when it expires; a job made of it keeps its photographs longer.

    Put photographs into it one by one, in any order, over as many connections as it takes; then make a job of it
    (`POST /v1/reconstructions` with `capture_id`). Its photographs are numbered by their names.
    """
    state = await to_thread.run_sync(_create, services, caller.tenant, limiter=services.store_threads)
    base = base_url(request)
    return _answer(state, base, services, 201, {"Location": capture_url(base, state.record.id)})


@router.get(
    "/v1/captures/{capture_id}",
    operation_id="getCapture",
    summary="See what a capture has",
    response_model=Capture,
    responses=refusals(404, 410),
)
async def get_capture(capture_id: str, request: Request, services: Wired, caller: Authorized) -> Response:
    """Give a capture with the photographs that have arrived: what is missing is to be sent again."""
    state = await to_thread.run_sync(find_capture, services.captures, caller.tenant, capture_id, limiter=services.store_threads)
    return _answer(state, base_url(request), services)


@router.put(
    "/v1/captures/{capture_id}/images/{name}",
    operation_id="putCaptureImage",
    summary="Put a photograph into a capture",
    status_code=201,
    response_model=ImageInput,
    responses={
        200: {"model": ImageInput, "description": "The same bytes were there under this name already"},
        201: {"description": "The photograph is part of the capture", "links": _PUT_LINKS},
        **refusals(400, 404, 408, 409, 410, 413, 422, 507),
    },
    openapi_extra={"requestBody": _PHOTO},
)
async def put_capture_image(
    capture_id: str,
    name: Annotated[str, Path(max_length=MAX_NAME_BYTES, pattern=NAME_PATTERN, description="File name, without folders")],
    request: Request,
    services: Wired,
    caller: Authorized,
    content_digest_: Annotated[  # noqa: ARG001 - read where the body is
        str,
        Header(
            alias="Content-Digest",
            description="`sha-256=:BASE64:` (RFC 9530): other bytes than these are refused (422)",
            json_schema_extra={"pattern": DIGEST_PATTERN},
        ),
    ] = "",
) -> Response:
    """Take the body as a photograph (JPEG, PNG, WebP, HEIC, TIFF; its first bytes say which). Repeat it until it is answered.

    201: it is there now. 200: it was there. 409: other bytes have its name, or a job was made of the capture. A photograph that
    was broken off on its way leaves nothing.
    """
    image, new = await receive_photo(request, services, caller.tenant, capture_id, name)
    return Response(image.model_dump_json(), 201 if new else 200, {"Cache-Control": "no-store"}, "application/json")


@router.delete(
    "/v1/captures/{capture_id}",
    operation_id="deleteCapture",
    summary="Delete a capture",
    status_code=204,
    responses=refusals(404, 409, 410),
)
async def delete_capture(capture_id: str, services: Wired, caller: Authorized) -> Response:
    """Delete a capture with its photographs; afterwards it answers 410. While a job that has not ended needs it: 409.

    The results of jobs that have ended stay; such a job cannot be done again.
    """
    await services.recovery.ensure()  # a job that Redis has lost may need it
    await to_thread.run_sync(_delete, services, caller.tenant, capture_id, limiter=services.store_threads)
    return Response(status_code=204)


def _create(services: Services, tenant: str) -> CaptureState:
    require_room(services.objects, services.settings, 0)
    return services.captures.create(tenant)


def _delete(services: Services, tenant: str, capture_id: str) -> None:
    find_capture(services.captures, tenant, capture_id)
    try:
        answer = services.captures.delete(capture_id)
    except ObjectStoreError:  # it is marked: the reaper removes what could not be removed now
        return
    if answer == "busy":
        detail = f"a job that has not ended needs capture {capture_id}; cancel it or wait for its end"
        raise ProblemError(409, ProblemCode.CONFLICT, detail, retryable=True)
    if answer == "gone":
        raise capture_gone(capture_id)


def _answer(
    state: CaptureState, base: str, services: Services, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    body = view_capture(state, base, services.settings).model_dump_json()
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")
