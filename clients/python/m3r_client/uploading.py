"""Photographs into a capture, one request each, several at a time: what is there already is not sent again."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import partial
from typing import Any
from urllib.parse import quote

from m3r_client.answers import Capture, CaptureImage
from m3r_client.errors import Conflict, InvalidRequest, Refused
from m3r_client.photos import Photo
from m3r_client.priors import Priors
from m3r_client.progress import ByteCount, OnProgress
from m3r_client.retrying import RetryPolicy, read_json, send
from m3r_client.simple_calls import capture_path, create_capture, get_capture
from m3r_client.steps import Request, Steps, Together, Work


def upload_photos(
    policy: RetryPolicy,
    photos: list[Photo],
    resume: str | None,
    parallel: int,
    strict: bool,
    on_progress: OnProgress,
    priors: Priors | None = None,
) -> Steps[Capture]:
    """Fill a new capture, or one that was begun before (`resume`: its id), and give it as it is then.

    Args:
        priors: what is known of the photographs; it replaces what the capture has of the same.
        strict: a photograph that cannot be used, or comes after the capture's job, is an error; else it is left out, and
            `on_progress` hears of it.

    Raises:
        InvalidRequest: a photograph cannot be used (and `strict`), or none can; or what is known beforehand is impossible.
        Conflict: other bytes have the name of one; or a job was made of the capture, so that it takes no more (and `strict`).
    """
    begun = yield from (create_capture(policy) if resume is None else get_capture(policy, resume))
    there = {image.name: image for image in begun.images}
    priors = priors or Priors()
    sizes: list[int] = yield Work(lambda: [file.size for file in (*photos, *priors.masks, *priors.depths)])
    count = ByteCount("upload", sum(sizes), on_progress, begun.id)
    count.add(0, "")
    sending = [partial(_send_photo, policy, begun.id, photo, there.get(photo.name), strict, count) for photo in photos]
    refused = yield Together(sending, parallel)
    faults = [fault for fault in refused if fault is not None]
    if len(faults) == len(photos):
        raise faults[0]
    left_out = {photo.name for photo, fault in zip(photos, refused) if fault is not None and fault.code == "invalid_image"}
    yield from _send_priors(policy, begun, priors.of_those_used(left_out), parallel, count)
    return (yield from get_capture(policy, begun.id))


def _send_photo(
    policy: RetryPolicy, capture_id: str, photo: Photo, there: CaptureImage | None, strict: bool, count: ByteCount
) -> Steps[Refused | None]:
    """Send one photograph unless it is there; gives why it was left out."""
    data: bytes = yield Work(photo.read)
    digest: bytes = yield Work(lambda: hashlib.sha256(data).digest())
    if there is not None and there.sha256 == digest.hex():
        count.add(len(data), photo.name)
        return None
    try:
        yield from put_bytes(policy, f"{capture_path(capture_id)}/images/{quote(photo.name, safe='')}", data, digest)
    except (InvalidRequest, Conflict) as error:
        # Frozen: a job was made of what had come; whoever goes on with it then wants that job.
        if strict or error.code not in ("invalid_image", "capture_frozen"):
            raise
        count.add(len(data), photo.name, f"photo left out: {error.detail}")
        return error
    count.add(len(data), photo.name)
    return None


def _send_priors(policy: RetryPolicy, capture: Capture, priors: Priors, parallel: int, count: ByteCount) -> Steps[None]:
    """Send what is known beforehand, after the photographs, so that what does not fit them is refused at once."""
    path = capture_path(capture.id)
    if priors.cameras is not None:
        document = json.dumps(priors.cameras).encode()
        yield from put_bytes(policy, f"{path}/cameras", document, hashlib.sha256(document).digest())
    sending = [
        partial(_send_map, policy, f"{path}/{kind}/{quote(file.name, safe='')}", file, count)
        for kind, files in (("masks", priors.masks), ("depths", priors.depths))
        for file in files
    ]
    yield Together(sending, parallel)


def _send_map(policy: RetryPolicy, path: str, file: Photo, count: ByteCount) -> Steps[None]:
    data: bytes = yield Work(file.read)
    yield from put_bytes(policy, path, data, hashlib.sha256(data).digest())
    count.add(len(data), file.name)


def put_bytes(policy: RetryPolicy, path: str, data: bytes, digest: bytes) -> Steps[Any]:
    """Put bytes with their SHA-256 (RFC 9530): altered on their way, they are refused and sent again. Gives what is answered."""
    headers = {
        "Content-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
        "Content-Type": "application/octet-stream",
    }
    answer = yield from send(Request("PUT", path, headers=headers, body=data), policy)
    return read_json(answer)
