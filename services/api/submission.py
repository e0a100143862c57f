"""A one-shot submission: photographs and wishes come in one body; the photographs go into a capture of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

from anyio import to_thread
from fastapi import Request

from services.adapters.objects import ObjectStoreError
from services.adapters.settings import Settings
from services.api.acceptance import Accepted, accept_record, fingerprint, new_record
from services.api.body import body_chunks, declared_length, require_room
from services.api.multipart_body import MAX_TEXT_BYTES, FilePart, MultipartBody, TextPart, too_large
from services.api.options_check import check_pairs
from services.api.photo_intake import PhotoIntake, PhotoStore, check_count
from services.api.prior_intake import PARTS, PriorIntake
from services.api.problems import ProblemError, invalid_field
from services.api.submission_form import TEXT_FIELDS, JobRequest, read_form
from services.api.upload_lanes import UploadLanes
from services.api.webhook_door import read_webhook
from services.api.wiring import Services
from services.contract.codes import ProblemCode
from services.contract.ids import new_id

FILE_PARTS = ("images", "archive", *PARTS)
FORM_OVERHEAD_BYTES = 16 << 20  # text parts, part headers and boundaries, beyond the photographs


class FormSubmission:
    """Photographs that came in one body, with what is known of them, and lie in a capture of their own."""

    def __init__(
        self,
        wanted: JobRequest,
        intake: PhotoIntake,
        priors: PriorIntake,
        services: Services,
        tenant: str,
        request_id: str,
    ) -> None:
        self._wanted = wanted
        self._intake = intake
        self._priors = priors
        self._services = services
        self._tenant = tenant
        self._request_id = request_id

    @property
    def fingerprint(self) -> str:
        """The photographs' order counts only where the caller's pairs number them."""
        digests = self._intake.digests
        ordered = digests if self._wanted.options.get("pairs") else sorted(digests)
        return fingerprint(self._wanted, [*ordered, *self._priors.digests])

    async def accept(self, job_id: str) -> Accepted:
        intake, services = self._intake, self._services
        record = new_record(job_id, self._tenant, self._wanted, intake.capture_id, intake.images, services.settings)
        record = record.model_copy(update={"warnings": intake.warnings, "priors": self._priors.files})
        size = record.input_bytes
        try:
            await to_thread.run_sync(
                services.quotas.require_room, self._tenant, len(record.images), size, limiter=services.upload_threads
            )
        except BaseException:
            await self.discard()
            raise
        accepted = await to_thread.run_sync(
            accept_record, record, services, self._request_id, intake.discard, limiter=services.upload_threads
        )
        if not accepted.made_before:
            services.metrics.uploaded.inc(size)
            services.quotas.add(self._tenant, len(record.images), size)
        return accepted

    async def discard(self) -> None:
        await _discard(self._intake, self._services)


async def receive_form(request: Request, services: Services, tenant: str, objects: PhotoStore) -> FormSubmission:
    """Read a multipart submission and store its photographs in `objects`, or refuse it and leave nothing behind.

    Raises:
        ProblemError: what is wrong with the request.
        ObjectStoreError: the store failed.
    """
    content_type = request.headers.get("content-type", "")
    check_media_type(content_type)
    await _check_length(request, services, objects)
    if objects is services.objects:  # else an earlier try was accepted, and this one is answered as it was
        await to_thread.run_sync(_check_quota, services, tenant, declared_length(request), limiter=services.upload_threads)
    intake = PhotoIntake(new_id("cap"), objects, services.settings)
    priors = PriorIntake(intake.capture_id, objects, services.settings)
    try:
        wanted = await _receive(content_type, body_chunks(request), intake, priors, services, tenant)
    except BaseException:
        await _discard(intake, services)
        raise
    return FormSubmission(wanted, intake, priors, services, tenant, request.state.request_id)


def check_media_type(content_type: str) -> None:
    """Refuse what is no multipart form; raises ProblemError 415."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        detail = (
            f"Content-Type is {kind[:80]!r}; send multipart/form-data with parts 'images' or 'archive' "
            "(curl: -F images=@a.jpg -F images=@b.jpg), or application/json with a capture_id"
        )
        raise ProblemError(
            415, ProblemCode.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept-Post": "multipart/form-data, application/json"}
        )


async def _check_length(request: Request, services: Services, objects: PhotoStore) -> None:
    """Check what can be checked before a byte of the body is read."""
    limit = services.settings.max_capture_bytes + FORM_OVERHEAD_BYTES
    length = declared_length(request)
    if length > limit:
        raise too_large("", f"the body has {length} bytes; the limit is {limit}")
    await to_thread.run_sync(require_room, objects, services.settings, length, limiter=services.upload_threads)


def _check_quota(services: Services, tenant: str, length: int) -> None:
    """Refuse before the bytes what the tenant may not have; the photographs are counted when they are there."""
    services.quotas.require_job(tenant)
    services.quotas.require_room(tenant, 1, max(0, length - FORM_OVERHEAD_BYTES))


async def _receive(
    content_type: str,
    chunks: AsyncIterator[bytes],
    intake: PhotoIntake,
    priors: PriorIntake,
    services: Services,
    tenant: str,
) -> JobRequest:
    """Read the body: photographs go to the store as they come, text is kept for the end."""
    settings = services.settings
    limit = _FileLimits(settings)
    body = MultipartBody(content_type, settings.max_capture_bytes + FORM_OVERHEAD_BYTES, limit.of_part)
    fields: dict[str, list[str]] = {}
    async with UploadLanes(services.upload_threads) as lanes, contextlib.aclosing(body.parts(chunks)) as parts:
        async for part in parts:
            if isinstance(part, FilePart) and part.name == "images":
                await lanes.start(_photo_work(intake, part, limit.photos - 1))
            elif isinstance(part, FilePart) and part.name == "archive":
                await lanes.start(partial(intake.add_archive, part.file))
            elif isinstance(part, FilePart) and part.name in PARTS:
                pointer = f"/{part.name}/{limit.priors[part.name] - 1}"
                await lanes.start(partial(priors.add_image, PARTS[part.name], part.filename, part.file, pointer))
            else:
                name, text = _text_of(part)
                fields.setdefault(name, []).append(text)
        await lanes.finish()
    wanted = read_form(fields)
    wanted = replace(wanted, webhook=await services.webhook_door.admit(read_webhook(fields.get("webhook", [""])[0]), tenant))
    pairs = wanted.options.get("pairs")
    # Pairs name photographs by number, so none may be left out.
    intake.settle(wanted.strict_images or bool(pairs))
    if pairs:
        check_pairs(wanted.options, len(intake.images))
    cameras = fields.get("cameras", [""])[0]
    await to_thread.run_sync(priors.settle, cameras, intake.images, intake.left_out, limiter=services.upload_threads)
    return wanted


def _photo_work(intake: PhotoIntake, part: FilePart, at: int) -> Callable[[], None]:
    """What is to be done with the `at`-th photograph; raises ProblemError when its name is taken."""
    pointer = f"/images/{at}"
    try:
        name = intake.take_name(part.filename, at, pointer)
    except ProblemError:
        part.file.close()
        raise
    return partial(intake.add_photo, name, part.file, at, pointer)


class _FileLimits:
    """How many bytes a file part may have, asked when its headers have come and its bytes have not."""

    def __init__(self, settings: Settings) -> None:
        self.photos = 0
        self.priors = Counter[str]()
        self._archives = 0
        self._settings = settings

    def of_part(self, name: str) -> int:
        """The limit of the next file part with this name; raises ProblemError when it may not come at all."""
        if name == "images":
            self.photos += 1
            check_count(self.photos, self._settings.max_photos)
        elif name == "archive":
            self._archives += 1
        elif name in PARTS:
            self.priors[name] += 1
            check_count(self.priors[name], self._settings.max_photos)
        elif name not in TEXT_FIELDS:
            raise _unknown_part(name)
        if self._archives > 1 or (self._archives and self.photos):
            raise invalid_field("/archive", "one zip, or photographs as 'images', not both")
        settings = self._settings
        limits = {"archive": settings.max_capture_bytes, **dict.fromkeys(("images", *PARTS), settings.max_photo_bytes)}
        return limits.get(name, MAX_TEXT_BYTES)


def _text_of(part: TextPart | FilePart) -> tuple[str, str]:
    if part.name in FILE_PARTS:
        raise invalid_field(f"/{part.name}", f"a file name is missing (curl: -F {part.name}=@file)")
    if part.name not in TEXT_FIELDS:
        raise _unknown_part(part.name)
    if isinstance(part, TextPart):
        return part.name, part.text
    with part.file:  # curl: -F options=@options.json
        try:
            return part.name, part.file.read().decode("utf-8")
        except UnicodeDecodeError:
            raise invalid_field(f"/{part.name}", "the text is not UTF-8") from None


def _unknown_part(name: str) -> ProblemError:
    return invalid_field(f"/{name[:50]}", f"no such part; known: {', '.join((*FILE_PARTS, *TEXT_FIELDS))}")


async def _discard(intake: PhotoIntake, services: Services) -> None:
    """Remove the capture of a refused submission, also when the request itself is being canceled."""

    async def remove() -> None:
        with contextlib.suppress(ObjectStoreError):  # what cannot be removed now goes when the capture expires
            await to_thread.run_sync(intake.discard, limiter=services.upload_threads)

    await asyncio.shield(remove())
