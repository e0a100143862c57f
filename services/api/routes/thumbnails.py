"""Small pictures of the photographs of a capture or a job."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Response

from services.adapters.objects import ObjectNotFound
from services.api.answers import refusals
from services.api.capture_access import find_capture
from services.api.job_access import find_job
from services.api.photos import UnusablePhotoError
from services.api.problems import ProblemError
from services.api.ranges import etag_matches
from services.api.thumbnails import DECODERS, SIDE, thumbnail_of
from services.api.wiring import Authorized, Services, Wired
from services.contract.codes import ProblemCode
from services.contract.jobs import ImageInput

router = APIRouter(tags=["thumbnails"])

_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture", "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "The picture is the one in `If-None-Match`"},
}
IfNoneMatch = Annotated[str | None, Header()]


@router.get(
    "/v1/captures/{capture_id}/images/{name}/thumbnail",
    operation_id="getCaptureThumbnail",
    summary="See a photograph of a capture, small",
    response_class=Response,
    responses={**_JPEG, **refusals(404, 410, 422)},
)
async def get_capture_thumbnail(
    capture_id: str, name: str, services: Wired, caller: Authorized, if_none_match: IfNoneMatch = None
) -> Response:
    """Give a photograph as an upright JPEG of at most 320 pixels a side, without its metadata. Signed links lead here."""
    state = await to_thread.run_sync(find_capture, services.captures, caller.tenant, capture_id, limiter=services.store_threads)
    return await _show(services, capture_id, name, state.images, if_none_match)


@router.get(
    "/v1/jobs/{job_id}/images/{name}/thumbnail",
    operation_id="getJobThumbnail",
    summary="See a photograph of a job, small",
    response_class=Response,
    responses={**_JPEG, **refusals(404, 410, 422)},
)
async def get_job_thumbnail(
    job_id: str, name: str, services: Wired, caller: Authorized, if_none_match: IfNoneMatch = None
) -> Response:
    """Give a photograph of a job, however it came, as an upright JPEG of at most 320 pixels a side. Signed links lead here."""
    record = (await find_job(services, caller, job_id)).record
    return await _show(services, record.capture_id, name, record.images, if_none_match)


async def _show(services: Services, capture_id: str, name: str, images: list[ImageInput], if_none_match: str | None) -> Response:
    image = next((image for image in images if image.name == name), None)
    if image is None:
        raise ProblemError(404, ProblemCode.NOT_FOUND, f"there is no photograph {name[:100]!r}")
    headers = {"ETag": f'"{image.sha256}-{SIDE}"', "Cache-Control": "private, max-age=3600"}
    if etag_matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    pixels = services.settings.max_photo_pixels
    try:
        small = await to_thread.run_sync(thumbnail_of, services.objects, capture_id, image, pixels, limiter=DECODERS)
    except ObjectNotFound:
        raise ProblemError(410, ProblemCode.GONE, f"photograph {name!r} was deleted") from None
    except UnusablePhotoError as error:
        raise ProblemError(422, ProblemCode.INVALID_IMAGE, f"{name!r}: {error}") from None
    return Response(small, headers={**headers, "X-Content-Type-Options": "nosniff"}, media_type="image/jpeg")
