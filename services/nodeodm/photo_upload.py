"""Photographs of a form into a task's capture, several at a time while the next ones arrive."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from functools import partial
from typing import BinaryIO

from anyio import to_thread
from fastapi import Request

from services.api.body import declared_length, require_room
from services.api.capture_access import find_capture
from services.api.capture_upload import capture_frozen, take_photo
from services.api.multipart_body import FilePart, TextPart
from services.api.photo_intake import sha256_of
from services.api.photo_names import safe_photo_name
from services.api.problems import ProblemError, invalid_field
from services.api.upload_lanes import UploadLanes
from services.api.wiring import Services
from services.contract import keys
from services.contract.codes import ProblemCode
from services.nodeodm.request_fields import Fields

# Ground control points, geolocation, groups: files of this protocol that say nothing to us. They are noted, not refused.
UNREAD_SUFFIXES = (".txt", ".csv", ".geojson", ".json", ".laz", ".las", ".zip")


async def receive_images(
    request: Request, services: Services, tenant: str, capture_id: str, parts: AsyncIterator[TextPart | FilePart]
) -> tuple[int, Fields]:
    """Store the images of a form; gives how many files came, and its texts.

    Raises:
        ProblemError: an image cannot be used or the capture does not take it; those before it stay.
        ObjectStoreError: the store failed; the same request may be sent again.
    """
    files, fields = 0, Fields()
    room = partial(require_room, services.objects, services.settings, declared_length(request))
    await to_thread.run_sync(room, limiter=services.upload_threads)
    async with UploadLanes(services.upload_threads) as lanes:
        async for part in parts:
            if isinstance(part, TextPart):
                fields[part.name] = part.text
            else:
                files += 1
                await lanes.start(partial(_take, services, tenant, capture_id, part.filename, part.file))
        await lanes.finish()
    return files, fields


def require_open(services: Services, tenant: str, capture_id: str) -> None:
    """Refuse, before its bytes come, what cannot be taken. Blocks; raises ProblemError."""
    if find_capture(services.captures, tenant, capture_id).frozen:
        raise capture_frozen(capture_id)


def unread_files(services: Services, capture_id: str) -> list[str]:
    """Names of the files that came and were not read. Blocks."""
    prefix = keys.capture_unread_prefix(capture_id)
    return [found.key.removeprefix(prefix) for found in services.objects.list(prefix)]


def _take(services: Services, tenant: str, capture_id: str, filename: str, file: BinaryIO) -> None:
    with contextlib.closing(file):
        name = safe_photo_name(filename)
        if not name:
            raise invalid_field("/images", f"{filename[:50]!r} cannot be a file's name")
        if name.lower().endswith(UNREAD_SUFFIXES):
            services.objects.put(keys.capture_unread_prefix(capture_id) + name, b"", "text/plain")
            return
        services.quotas.require_room(tenant, 1, file.seek(0, os.SEEK_END))
        try:
            take_photo(services, tenant, capture_id, name, file, sha256_of(file))
        except ProblemError as error:
            if error.code is ProblemCode.INVALID_IMAGE:
                raise ProblemError(error.status, error.code, f"image {error.detail}", error.errors) from None
            raise
