"""Direct upload: limits before the URLs are given out; afterwards every byte is judged as if it had come through the API."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from typing import BinaryIO, cast

from services.adapters.capture_store import CaptureState
from services.adapters.objects import ObjectNotFound
from services.adapters.upload_store import OPEN_AT_MOST, PresignedUpload, TooManyUploads
from services.api.body import require_room
from services.api.capture_access import find_capture
from services.api.capture_upload import capture_frozen, capture_too_large, photo_too_large, take_photo
from services.api.multipart_body import SPOOL_BYTES
from services.api.photo_intake import check_count
from services.api.photo_names import safe_photo_name
from services.api.problems import ProblemError, invalid_field
from services.api.wiring import Services
from services.contract.codes import ProblemCode
from services.contract.problems import FieldError
from services.contract.uploads import UploadFile, UploadRecord

FAULTS_TOLD = 3


def begin_upload(services: Services, tenant: str, capture_id: str, files: list[UploadFile]) -> PresignedUpload:
    """Check what is announced and give URLs for what the capture does not have. Blocks.

    Raises:
        ProblemError: the capture cannot take them, or the store has no URLs.
        ObjectStoreError, redis.RedisError: a store failed.
    """
    state = find_capture(services.captures, tenant, capture_id)
    if not services.uploads.available():
        detail = (
            f"this service's store takes no direct uploads; send each photograph with PUT /v1/captures/{capture_id}/images/NAME"
        )
        raise ProblemError(409, ProblemCode.DIRECT_UPLOAD_UNAVAILABLE, detail)
    _check_names(files)
    wanted = [file for file in files if not _has(state, file)]
    _check_limits(services, state, wanted)
    try:
        return services.uploads.begin(capture_id, wanted)
    except TooManyUploads:
        detail = f"capture {capture_id} has {OPEN_AT_MOST} uploads that are not complete, the limit; complete one, or wait"
        raise ProblemError(409, ProblemCode.TOO_MANY_UPLOADS, detail, retryable=True) from None


def take_staged(services: Services, tenant: str, upload: UploadRecord, place: int) -> ProblemError | None:
    """Judge one file that has arrived, and make it part of the capture; says why not. May be repeated. Blocks.

    Raises:
        ObjectStoreError, redis.RedisError: a store failed.
    """
    promised = upload.files[place]
    if _is_in(services, upload.capture_id, promised):
        return None
    with cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)) as file:
        digest = hashlib.sha256()
        try:
            for chunk in services.uploads.read(upload, place):
                digest.update(chunk)
                file.write(chunk)
        except ObjectNotFound:  # or another request has just made it part of the capture
            return None if _is_in(services, upload.capture_id, promised) else _missing(promised)
        refused = _judge(services, tenant, upload, promised, file, digest.hexdigest())
    if refused is None or refused.status == 422:  # of no use any more, or of none ever
        services.uploads.drop(upload, place)
    return refused


def refuse(faults: Sequence[tuple[int, ProblemError]]) -> ProblemError:
    """One refusal for all files that were refused: the places are those in the request that announced them."""
    worst = min((fault for _, fault in faults), key=lambda fault: fault.code is ProblemCode.UPLOAD_INCOMPLETE)
    detail = "; ".join(fault.detail for _, fault in faults[:FAULTS_TOLD]) + ("; …" if len(faults) > FAULTS_TOLD else "")
    errors = [FieldError(pointer=f"/files/{place}", message=fault.detail) for place, fault in faults]
    return ProblemError(worst.status, worst.code, detail, errors, retryable=all(fault.retryable for _, fault in faults))


def find_upload(services: Services, tenant: str, capture_id: str, upload_id: str) -> UploadRecord:
    """Read an upload that the caller may see; raises ProblemError 404, 410. Blocks."""
    find_capture(services.captures, tenant, capture_id)
    upload = services.uploads.find(capture_id, upload_id)
    if upload is None:
        detail = f"capture {capture_id} has no upload {upload_id[:60]}, or its time is over"
        raise ProblemError(404, ProblemCode.NOT_FOUND, detail)
    return upload


def _judge(
    services: Services, tenant: str, upload: UploadRecord, promised: UploadFile, file: BinaryIO, sha256: str
) -> ProblemError | None:
    if file.tell() != promised.bytes or sha256 != promised.sha256:
        detail = f"{promised.name!r}: other bytes came than were announced, and were removed; send them again"
        return ProblemError(422, ProblemCode.DIGEST_MISMATCH, detail, retryable=True)
    try:
        take_photo(services, tenant, upload.capture_id, promised.name, file, sha256)
    except ProblemError as refused:
        return refused
    return None


def _check_names(files: list[UploadFile]) -> None:
    seen: set[str] = set()
    for place, file in enumerate(files):
        safe = safe_photo_name(file.name)
        if safe != file.name:
            raise invalid_field(
                f"/files/{place}/name", f"{file.name[:50]!r} cannot be a name here; {safe or 'photo.jpg'!r} could"
            )
        if file.name in seen:
            raise invalid_field(f"/files/{place}/name", f"{file.name!r} is there twice", ProblemCode.DUPLICATE_NAME)
        seen.add(file.name)


def _check_limits(services: Services, state: CaptureState, wanted: list[UploadFile]) -> None:
    settings = services.settings
    if not wanted:
        return
    if state.frozen:
        raise capture_frozen(state.record.id)
    taken = {image.name for image in state.images}
    for file in wanted:
        if file.name in taken:
            detail = f"other bytes have the name {file.name!r} in this capture; send these under another name"
            raise ProblemError(409, ProblemCode.NAME_TAKEN, detail)
        if file.bytes > settings.max_photo_bytes:
            raise photo_too_large(settings.max_photo_bytes)
    new = [file for file in wanted if file.name not in state.pending]
    check_count(len(state.images) + len(state.pending) + len(new), settings.max_photos)
    total = sum(file.bytes for file in new)
    if state.bytes + total > settings.max_capture_bytes:
        raise capture_too_large(settings.max_capture_bytes)
    services.quotas.require_room(state.record.tenant, len(new), total)
    require_room(services.objects, settings, total)


def _has(state: CaptureState, file: UploadFile) -> bool:
    return any((image.name, image.sha256) == (file.name, file.sha256) for image in state.images)


def _is_in(services: Services, capture_id: str, file: UploadFile) -> bool:
    state = services.captures.get(capture_id)
    return state is not None and _has(state, file)


def _missing(file: UploadFile) -> ProblemError:
    return ProblemError(409, ProblemCode.UPLOAD_INCOMPLETE, f"{file.name!r} has not arrived", retryable=True)
