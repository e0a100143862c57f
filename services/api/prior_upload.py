"""What is known beforehand, on its way into a capture: the cameras document, masks, depth maps."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from typing import BinaryIO, cast

from anyio import to_thread
from fastapi import Request

from services.adapters.capture_store import CaptureState
from services.adapters.prior_store import PriorRefused
from services.api.body import declared_length, require_room
from services.api.capture_access import capture_gone, find_capture
from services.api.capture_upload import capture_too_large, photo_too_large, spool_body
from services.api.content_digest import BodySums, read_digests
from services.api.json_body import read_json
from services.api.multipart_body import SPOOL_BYTES
from services.api.photo_intake import check_count
from services.api.photo_names import safe_photo_name
from services.api.prior_checks import check_sizes
from services.api.prior_images import ImageKind, UnusablePriorError, inspect_prior_image
from services.api.problems import invalid_field
from services.api.wiring import Services
from services.contract.cameras import CamerasDocument
from services.contract.codes import ProblemCode
from services.contract.jobs import PriorFile, PriorKind
from services.contract.keys import capture_prior

WHAT: dict[PriorKind, str] = {"cameras": "cameras document", "mask": "mask", "depth": "depth map"}


async def receive_cameras(request: Request, services: Services, tenant: str, capture_id: str) -> CamerasDocument:
    """Take a cameras document into a capture, instead of the one before; gives what holds now.

    Raises:
        ProblemError: what is wrong with it, or why the capture does not take it.
        ObjectStoreError, redis.RedisError: a store failed; the same request may be sent again.
    """
    await to_thread.run_sync(find_capture, services.captures, tenant, capture_id, limiter=services.store_threads)
    document = await read_json(request, CamerasDocument, ProblemCode.INVALID_PRIORS)

    def keep() -> CamerasDocument:
        state = find_capture(services.captures, tenant, capture_id)
        check_sizes(document, [], state.images)
        if document.empty:
            remove_prior(services, tenant, capture_id, "cameras", "")
            return CamerasDocument()
        data = document.as_json()
        _check_room(services, state, "cameras", "", len(data))
        _put(services, state, cameras_file(data), io.BytesIO(data))
        return document

    return await to_thread.run_sync(keep, limiter=services.store_threads)


async def receive_prior_image(
    request: Request, services: Services, tenant: str, capture_id: str, kind: ImageKind, name: str
) -> tuple[PriorFile, bool]:
    """Take a mask or a depth map into a capture, and say whether there was none; raises as `receive_cameras` does."""
    sums = BodySums(read_digests(request.headers.get("content-digest")))
    length = declared_length(request)
    limiter = services.upload_threads
    await to_thread.run_sync(_check_before, services, tenant, capture_id, kind, name, length, limiter=limiter)
    with cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)) as file:
        await spool_body(request, file, sums, services.settings.max_photo_bytes, WHAT[kind])

        def take() -> tuple[PriorFile, bool]:
            prior = judge_prior_image(file, kind, name, sums.check(), services.settings.max_photo_pixels, f"/{name}")
            state = find_capture(services.captures, tenant, capture_id)
            check_sizes(None, [prior], state.images)
            return prior, _put(services, state, prior, file)

        return await to_thread.run_sync(take, limiter=limiter)


def judge_prior_image(file: BinaryIO, kind: ImageKind, name: str, sha256: str, max_pixels: int, pointer: str) -> PriorFile:
    """Describe a mask or depth map whose bytes are all there; raises ProblemError invalid_priors. Blocks."""
    try:
        size = inspect_prior_image(file, kind, max_pixels)
    except UnusablePriorError as error:
        raise invalid_field(pointer, str(error), ProblemCode.INVALID_PRIORS) from None
    length = file.seek(0, os.SEEK_END)
    return PriorFile(id="", kind=kind, name=name, bytes=length, sha256=sha256, width=size.width, height=size.height)


def cameras_file(data: bytes) -> PriorFile:
    """Describe a cameras document."""
    return PriorFile(id="", kind="cameras", name="", bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def read_cameras(services: Services, capture_id: str, priors: list[PriorFile]) -> CamerasDocument | None:
    """Read the cameras document among what a capture has. Blocks; raises ObjectStoreError."""
    for prior in priors:
        if prior.kind == "cameras":
            return CamerasDocument.model_validate_json(services.objects.read(capture_prior(capture_id, prior.id)))
    return None


def remove_prior(services: Services, tenant: str, capture_id: str, kind: PriorKind, name: str) -> None:
    """Let a capture say nothing more of this kind about a photograph; nothing happens if it said nothing. Blocks."""
    find_capture(services.captures, tenant, capture_id)
    if safe_photo_name(name) != name:
        return  # there is no such photograph
    try:
        services.priors.remove(capture_id, kind, name)
    except PriorRefused:
        raise capture_gone(capture_id) from None


def _check_before(services: Services, tenant: str, capture_id: str, kind: ImageKind, name: str, length: int) -> None:
    """Refuse before the bytes what they cannot change."""
    settings = services.settings
    state = find_capture(services.captures, tenant, capture_id)
    if safe_photo_name(name) != name:
        raise invalid_field("/path/name", f"{name[:50]!r} cannot be a photograph's name; {safe_photo_name(name)!r} could")
    if length > settings.max_photo_bytes:
        raise photo_too_large(settings.max_photo_bytes, WHAT[kind])
    others = {prior.name for prior in state.priors if prior.kind == kind and prior.name != name}
    check_count(len(others) + 1, settings.max_photos)
    _check_room(services, state, kind, name, length)


def _check_room(services: Services, state: CaptureState, kind: PriorKind, name: str, length: int) -> None:
    limit = services.settings.max_capture_bytes
    replaced = sum(prior.bytes for prior in state.priors if (prior.kind, prior.name) == (kind, name) and not state.frozen)
    if state.bytes - replaced + length > limit:
        raise capture_too_large(limit, WHAT[kind])
    services.quotas.require_room(state.record.tenant, 0, length)
    require_room(services.objects, services.settings, length)


def _put(services: Services, state: CaptureState, prior: PriorFile, data: BinaryIO) -> bool:
    facts, capture_id = (prior.kind, prior.name, prior.sha256), state.record.id
    if any((held.kind, held.name, held.sha256) == facts for held in state.priors):
        return False
    try:
        new = services.priors.put(capture_id, prior, data)
    except PriorRefused as refused:
        if refused.reason == "too_large":
            raise capture_too_large(services.settings.max_capture_bytes, WHAT[prior.kind]) from None
        raise capture_gone(capture_id) from None
    services.metrics.uploaded.inc(prior.bytes)
    services.quotas.add(state.record.tenant, 0, prior.bytes)
    return new


def find_cameras(services: Services, tenant: str, capture_id: str) -> CamerasDocument:
    """The cameras document of a capture; an empty one when none was sent. Blocks."""
    state = find_capture(services.captures, tenant, capture_id)
    return read_cameras(services, capture_id, state.priors) or CamerasDocument()
