"""Photographs into a capture, one request each, several at a time: what is there already is not sent again."""

from __future__ import annotations

import base64
import hashlib
from functools import partial
from typing import Any
from urllib.parse import quote

from m3r_client.answers import Capture, CaptureImage
from m3r_client.errors import Conflict, InvalidRequest, Refused
from m3r_client.photos import Photo
from m3r_client.progress import ByteCount, OnProgress
from m3r_client.retrying import RetryPolicy, read_json, send
from m3r_client.simple_calls import capture_path, create_capture, get_capture
from m3r_client.steps import Request, Steps, Together, Work


def upload_photos(
    policy: RetryPolicy, photos: list[Photo], resume: str | None, parallel: int, strict: bool, on_progress: OnProgress
) -> Steps[Capture]:
    """Fill a new capture, or one that was begun before (`resume`: its id), and give it as it is then.

    Args:
        strict: a photograph that cannot be used, or comes after the capture's job, is an error; else it is left out, and
            `on_progress` hears of it.

    Raises:
        InvalidRequest: a photograph cannot be used (and `strict`), or none can.
        Conflict: other bytes have the name of one; or a job was made of the capture, so that it takes no more (and `strict`).
    """
    begun = yield from (create_capture(policy) if resume is None else get_capture(policy, resume))
    there = {image.name: image for image in begun.images}
    sizes: list[int] = yield Work(lambda: [photo.size for photo in photos])
    count = ByteCount("upload", sum(sizes), on_progress, begun.id)
    count.add(0, "")
    sending = [partial(_send_photo, policy, begun.id, photo, there.get(photo.name), strict, count) for photo in photos]
    refused = yield Together(sending, parallel)
    faults = [fault for fault in refused if fault is not None]
    if len(faults) == len(photos):
        raise faults[0]
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


def put_bytes(policy: RetryPolicy, path: str, data: bytes, digest: bytes) -> Steps[Any]:
    """Put bytes with their SHA-256 (RFC 9530): altered on their way, they are refused and sent again. Gives what is answered."""
    headers = {
        "Content-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
        "Content-Type": "application/octet-stream",
    }
    answer = yield from send(Request("PUT", path, headers=headers, body=data), policy)
    return read_json(answer)
