"""`/v1/jobs/{id}/links`, `/v1/captures/{id}/links`: URLs for a browser, which cannot send a key with an image or a download."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from services.api.answers import refusals
from services.api.capture_access import find_capture
from services.api.job_access import find_job
from services.api.links import artifact_url, base_url, capture_url, job_url, thumbnail_url
from services.api.wiring import Authorized, Wired
from services.contract.access import SignedLinks

router = APIRouter(tags=["links"])


@router.get(
    "/v1/jobs/{job_id}/links",
    operation_id="getJobLinks",
    summary="Get links that work without a key",
    response_model=SignedLinks,
    responses=refusals(404, 410, 507),
)
async def get_job_links(job_id: str, request: Request, services: Wired, caller: Authorized) -> Response:
    """Give URLs of a job's events, files and photographs that a browser can follow by itself until `expires_at`.

    Whoever has such a URL can read that one thing until then; ask again for new ones. `archive` and `artifacts` come with the
    result.
    """
    record = (await find_job(services, caller, job_id)).record
    base = base_url(request)
    signature = await services.links.signature(caller.tenant, base)
    job, files = job_url(base, job_id), record.result.artifacts if record.result is not None else []
    links = SignedLinks(
        expires_at=signature.expires_at,
        events=signature.sign(f"{job}/events"),
        archive=signature.sign(f"{job}/artifacts.zip") if record.result is not None else None,
        artifacts={file.name: signature.sign(artifact_url(base, job_id, file.name)) for file in files},
        thumbnails={image.name: signature.sign(thumbnail_url(job, image.name)) for image in record.images},
    )
    return _answer(links)


@router.get(
    "/v1/captures/{capture_id}/links",
    operation_id="getCaptureLinks",
    summary="Get links to thumbnails that work without a key",
    response_model=SignedLinks,
    responses=refusals(404, 410, 507),
)
async def get_capture_links(capture_id: str, request: Request, services: Wired, caller: Authorized) -> Response:
    """Give URLs of the thumbnails of a capture's photographs that a browser can follow by itself until `expires_at`."""
    state = await to_thread.run_sync(find_capture, services.captures, caller.tenant, capture_id, limiter=services.store_threads)
    base = base_url(request)
    signature = await services.links.signature(caller.tenant, base)
    capture = capture_url(base, capture_id)
    thumbnails = {image.name: signature.sign(thumbnail_url(capture, image.name)) for image in state.images}
    return _answer(SignedLinks(expires_at=signature.expires_at, thumbnails=thumbnails))


def _answer(links: SignedLinks) -> Response:
    return Response(links.model_dump_json(), headers={"Cache-Control": "no-store"}, media_type="application/json")
