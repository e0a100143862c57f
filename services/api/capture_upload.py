"""One photograph on its way into a capture: everything that can be refused before its bytes is, then the bytes are judged."""

from __future__ import annotations

import os
import tempfile
from typing import BinaryIO, cast

from anyio import to_thread
from fastapi import Request

from services.adapters.capture_store import CaptureState, PhotoRefused
from services.api.body import body_chunks, declared_length, require_room
from services.api.capture_access import capture_gone, find_capture
from services.api.content_digest import BodySums, read_digests
from services.api.multipart_body import SPOOL_BYTES, too_large
from services.api.photo_intake import check_count
from services.api.photo_names import safe_photo_name
from services.api.photos import UnusablePhotoError, inspect_photo
from services.api.problems import ProblemError, invalid_field
from services.api.wiring import Services
from services.contract.codes import ProblemCode
from services.contract.jobs import ImageInput


async def receive_photo(request: Request, services: Services, tenant: str, capture_id: str, name: str) -> tuple[ImageInput, bool]:
    """Take a photograph into a capture; says whether it is new.

    Raises:
        ProblemError: what is wrong with it, or why the capture does not take it.
        ObjectStoreError, redis.RedisError: a store failed; the same request may be sent again.
    """
    wanted = read_digests(request.headers.get("content-digest"))
    length = declared_length(request)
    await to_thread.run_sync(_check_before, services, tenant, capture_id, name, length, limiter=services.upload_threads)
    sums = BodySums(wanted)
    with cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)) as file:
        await spool_body(request, file, sums, services.settings.max_photo_bytes)
        return await to_thread.run_sync(_take, services, tenant, capture_id, name, file, sums, limiter=services.upload_threads)


def _check_before(services: Services, tenant: str, capture_id: str, name: str, length: int) -> None:
    """Refuse before the bytes what they cannot change."""
    settings = services.settings
    state = find_capture(services.captures, tenant, capture_id)
    if safe_photo_name(name) != name:
        raise invalid_field("/path/name", f"{name[:50]!r} cannot be a name here; {safe_photo_name(name) or 'photo.jpg'!r} could")
    if length > settings.max_photo_bytes:
        raise photo_too_large(settings.max_photo_bytes)
    if any(image.name == name for image in state.images):
        return  # the bytes decide whether it is the same
    if state.frozen:
        raise capture_frozen(capture_id)
    if name not in state.pending:
        check_count(len(state.images) + len(state.pending) + 1, settings.max_photos)
        _check_room_in(state, length, settings.max_capture_bytes)
        services.quotas.require_room(tenant, 1, length)
    require_room(services.objects, settings, length)


async def spool_body(request: Request, file: BinaryIO, sums: BodySums, limit: int, what: str = "photograph") -> None:
    """Read a body into a file; raises ProblemError 413 beyond the limit, 408 when it stops coming."""
    size, buffer = 0, bytearray()
    async for chunk in body_chunks(request):
        size += len(chunk)
        if size > limit:
            raise photo_too_large(limit, what)
        sums.update(chunk)
        buffer += chunk
        if len(buffer) >= SPOOL_BYTES:  # beyond it the spool is a file: never written on the event loop
            block, buffer = bytes(buffer), bytearray()
            await to_thread.run_sync(file.write, block)
    await to_thread.run_sync(file.write, bytes(buffer))


def _take(services: Services, tenant: str, capture_id: str, name: str, file: BinaryIO, sums: BodySums) -> tuple[ImageInput, bool]:
    return take_photo(services, tenant, capture_id, name, file, sums.check())


def take_photo(
    services: Services, tenant: str, capture_id: str, name: str, file: BinaryIO, sha256: str
) -> tuple[ImageInput, bool]:
    """Inspect a photograph whose bytes are all there and enter it into a capture; says whether it is new. Blocks.

    Raises:
        ProblemError: it is no photograph that is allowed, or the capture does not take it.
        ObjectStoreError: nothing was taken.
    """
    size = file.seek(0, os.SEEK_END)
    try:
        header = inspect_photo(file, services.settings.max_photo_pixels)
    except UnusablePhotoError as error:
        raise invalid_field(f"/{name}", str(error), ProblemCode.INVALID_IMAGE) from None
    image = ImageInput(
        name=name,
        bytes=size,
        sha256=sha256,
        media_type=header.media_type,
        width=header.width,
        height=header.height,
        exif_orientation=header.orientation,
    )

    def store(key: str) -> None:
        file.seek(0)
        services.objects.put(key, file, header.media_type)

    try:
        new = services.captures.add(capture_id, image, store)
    except PhotoRefused as refused:
        raise _refusal(refused, capture_id, name, services) from None
    if new:
        services.metrics.uploaded.inc(size)
        services.quotas.add(tenant, 1, size)
    return image, new


def _refusal(refused: PhotoRefused, capture_id: str, name: str, services: Services) -> ProblemError:
    if refused.reason == "other":
        detail = f"other bytes have the name {name!r} in this capture; send these under another name"
        return ProblemError(409, ProblemCode.NAME_TAKEN, detail)
    if refused.reason == "frozen":
        return capture_frozen(capture_id)
    if refused.reason == "too_many":
        limit = services.settings.max_photos
        return invalid_field("/images", f"the capture has {limit} photographs, the limit", ProblemCode.TOO_MANY_IMAGES)
    if refused.reason == "too_large":
        return capture_too_large(services.settings.max_capture_bytes)
    return capture_gone(capture_id)


def _check_room_in(state: CaptureState, length: int, limit: int) -> None:
    if state.bytes + length > limit:
        raise capture_too_large(limit)


def capture_too_large(limit: int, what: str = "photograph") -> ProblemError:
    """With this file the capture would be too large."""
    return too_large("", f"with this {what} the capture would have more than {limit} bytes, the limit")


def photo_too_large(limit: int, what: str = "photograph") -> ProblemError:
    """The file alone is too large."""
    return too_large("", f"the {what} has more than {limit} bytes, the limit")


def capture_frozen(capture_id: str) -> ProblemError:
    """The capture takes no more photographs."""
    detail = f"a job was made of capture {capture_id}; it takes no more photographs. Make a new capture"
    return ProblemError(409, ProblemCode.CAPTURE_FROZEN, detail)
