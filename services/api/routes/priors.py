"""`/v1/captures/{id}/cameras`, `masks`, `depths`: what is known of photographs beforehand; every step can be repeated."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Request, Response

from services.api.answers import refusals
from services.api.capture_access import view_prior
from services.api.photo_names import MAX_NAME_BYTES
from services.api.prior_images import ImageKind
from services.api.prior_upload import find_cameras, receive_cameras, receive_prior_image, remove_prior
from services.api.routes.captures import DIGEST_PATTERN, NAME_PATTERN
from services.api.wiring import Authorized, Wired
from services.contract.cameras import CamerasDocument
from services.contract.captures import PriorImage

router = APIRouter(tags=["priors"])

_CAMERAS: dict[str, Any] = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/CamerasDocument"}}},
}
_PNG: dict[str, Any] = {"required": True, "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
_IMAGE_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": PriorImage, "description": "It holds instead of the one before"},
    201: {"description": "There was none"},
    **refusals(400, 404, 408, 410, 413, 422, 507),
}

PhotoName = Annotated[
    str, Path(max_length=MAX_NAME_BYTES, pattern=NAME_PATTERN, description="The photograph's name, its suffix too")
]
ContentDigest = Annotated[
    str,
    Header(
        alias="Content-Digest",
        description="`sha-256=:BASE64:` (RFC 9530): other bytes than these are refused (422)",
        json_schema_extra={"pattern": DIGEST_PATTERN},
    ),
]


@router.put(
    "/v1/captures/{capture_id}/cameras",
    operation_id="putCaptureCameras",
    summary="Say what is known of cameras and poses",
    response_model=CamerasDocument,
    response_model_exclude_none=True,
    responses=refusals(400, 404, 408, 410, 413, 422, 507),
    openapi_extra={"requestBody": _CAMERAS},
)
async def put_capture_cameras(capture_id: str, request: Request, services: Wired, caller: Authorized) -> Response:
    """Replace all that is known beforehand of the capture's photographs, but for masks and depth maps (docs/priors.md).

    Photographs may come before it or after it. What is impossible in itself, or belongs to a photograph of another size that is
    there, is refused now; photographs that do not exist are refused when a job is made. A job keeps what held when it was made;
    for another job of the same capture it may be replaced.
    """
    document = await receive_cameras(request, services, caller.tenant, capture_id)
    return _document(document)


@router.get(
    "/v1/captures/{capture_id}/cameras",
    operation_id="getCaptureCameras",
    summary="See what is known of cameras and poses",
    response_model=CamerasDocument,
    response_model_exclude_none=True,
    responses=refusals(404, 410),
)
async def get_capture_cameras(capture_id: str, services: Wired, caller: Authorized) -> Response:
    """Give the document that was put last, without members that are null; an empty one when there was none."""
    found = await to_thread.run_sync(find_cameras, services, caller.tenant, capture_id, limiter=services.store_threads)
    return _document(found)


@router.delete(
    "/v1/captures/{capture_id}/cameras",
    operation_id="deleteCaptureCameras",
    summary="Take back what was said of cameras and poses",
    status_code=204,
    responses=refusals(404, 410),
)
async def delete_capture_cameras(capture_id: str, services: Wired, caller: Authorized) -> Response:
    """Let nothing be known of cameras and poses. Jobs keep what they were given."""
    await to_thread.run_sync(remove_prior, services, caller.tenant, capture_id, "cameras", "", limiter=services.store_threads)
    return Response(status_code=204)


@router.put(
    "/v1/captures/{capture_id}/masks/{name}",
    operation_id="putCaptureMask",
    summary="Say which pixels of a photograph may be used",
    status_code=201,
    response_model=PriorImage,
    responses=_IMAGE_ANSWERS,
    openapi_extra={"requestBody": _PNG},
)
async def put_capture_mask(
    capture_id: str,
    name: PhotoName,
    request: Request,
    services: Wired,
    caller: Authorized,
    content_digest_: ContentDigest = "",  # noqa: ARG001 - read where the body is
) -> Response:
    """Take the body as the mask of a photograph, instead of the one before: a PNG of its size (upright), of 8 bits or fewer.

    White pixels give matches, points and exported depth; the others do not. The photograph may come later.
    """
    return await _put_image("mask", capture_id, name, request, services, caller)


@router.delete(
    "/v1/captures/{capture_id}/masks/{name}",
    operation_id="deleteCaptureMask",
    summary="Take a mask back",
    status_code=204,
    responses=refusals(404, 410),
)
async def delete_capture_mask(capture_id: str, name: PhotoName, services: Wired, caller: Authorized) -> Response:
    """Let every pixel of the photograph be used. Nothing happens when there was no mask. Jobs keep what they were given."""
    return await _delete_image("mask", capture_id, name, services, caller)


@router.put(
    "/v1/captures/{capture_id}/depths/{name}",
    operation_id="putCaptureDepth",
    summary="Give a photograph's measured depth",
    status_code=201,
    response_model=PriorImage,
    responses=_IMAGE_ANSWERS,
    openapi_extra={"requestBody": _PNG},
)
async def put_capture_depth(
    capture_id: str,
    name: PhotoName,
    request: Request,
    services: Wired,
    caller: Authorized,
    content_digest_: ContentDigest = "",  # noqa: ARG001 - read where the body is
) -> Response:
    """Take the body as the depth map of a photograph, instead of the one before: a 16-bit grey PNG of its size (upright).

    Millimetres along the optical axis; 0 where it is not known. The photograph may come later.
    """
    return await _put_image("depth", capture_id, name, request, services, caller)


@router.delete(
    "/v1/captures/{capture_id}/depths/{name}",
    operation_id="deleteCaptureDepth",
    summary="Take a depth map back",
    status_code=204,
    responses=refusals(404, 410),
)
async def delete_capture_depth(capture_id: str, name: PhotoName, services: Wired, caller: Authorized) -> Response:
    """Let no depth of the photograph be known. Nothing happens when there was none. Jobs keep what they were given."""
    return await _delete_image("depth", capture_id, name, services, caller)


async def _put_image(
    kind: ImageKind, capture_id: str, name: str, request: Request, services: Wired, caller: Authorized
) -> Response:
    prior, new = await receive_prior_image(request, services, caller.tenant, capture_id, kind, name)
    body = view_prior(prior).model_dump_json()
    return Response(body, 201 if new else 200, {"Cache-Control": "no-store"}, "application/json")


async def _delete_image(kind: ImageKind, capture_id: str, name: str, services: Wired, caller: Authorized) -> Response:
    await to_thread.run_sync(remove_prior, services, caller.tenant, capture_id, kind, name, limiter=services.store_threads)
    return Response(status_code=204)


def _document(document: CamerasDocument) -> Response:
    return Response(document.as_json(), headers={"Cache-Control": "no-store"}, media_type="application/json")
