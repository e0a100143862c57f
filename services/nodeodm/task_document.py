"""What a task is, but for its photographs (they are in a capture) and its work (a job): written once, when it is begun.

The capture's id follows from the tenant and the task's UUID, so that nothing has to be looked up, and one tenant's UUIDs mean
nothing to another. Of the jobs made of the capture the newest is the task's; its id is noted beside the document too, for the
time in which a Redis that has lost its data does not know the capture's jobs yet.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from services.adapters.objects import ObjectExists, ObjectNotFound, ObjectStore
from services.api.problems import ProblemError, invalid_field
from services.contract import keys
from services.contract.codes import ProblemCode
from services.contract.jobs import Model
from services.contract.webhooks import Webhook

LABEL = "nodeodm"  # on the jobs of tasks; its value is the UUID


class TaskOption(Model):
    """One option as the client gave it."""

    name: str
    value: Any


class TaskDocument(Model):
    """What was asked for at the beginning."""

    uuid: str
    name: str
    created_at: datetime
    options: list[TaskOption]
    outputs: list[str]
    webhook: Webhook | None = None


def capture_id_of(tenant: str, task: str) -> str:
    """The capture of a task; a UUID of version 7 in form alone (RFC 9562)."""
    bits = int.from_bytes(hashlib.sha256(f"nodeodm\0{tenant}\0{task}".encode()).digest()[:16], "big")
    bits = bits & ~(0xF << 76) & ~(0b11 << 62) | 0x7 << 76 | 0b10 << 62
    return f"cap_{uuid.UUID(int=bits)}"


def read_uuid(text: str) -> str:
    """Read a task's UUID in its usual form; raises ProblemError."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise invalid_field("/uuid", f"{text[:60]!r} is not a UUID") from None


def write_task(objects: ObjectStore, tenant: str, task: TaskDocument, new: bool) -> None:
    """Keep a task; raises ProblemError when it is `new` and there is one of this UUID. Blocks."""
    key = keys.capture_task(capture_id_of(tenant, task.uuid))
    try:
        objects.put(key, task.model_dump_json().encode(), "application/json", if_absent=new)
    except ObjectExists:
        raise task_exists(task.uuid) from None


def task_exists(uuid: str) -> ProblemError:
    """The UUID that a client chose is taken."""
    return ProblemError(409, ProblemCode.CONFLICT, f"there is a task {uuid} already, or there was")


def read_task(objects: ObjectStore, tenant: str, task: str) -> TaskDocument | None:
    """Read a task; None when there is none. Blocks."""
    try:
        return TaskDocument.model_validate_json(objects.read(keys.capture_task(capture_id_of(tenant, task))))
    except (ObjectNotFound, ValidationError):
        return None


def note_job(objects: ObjectStore, capture_id: str, job_id: str) -> None:
    """Note the newest job of a task. Blocks."""
    objects.put(keys.capture_task_job(capture_id), job_id.encode(), "text/plain")


def noted_job(objects: ObjectStore, capture_id: str) -> list[str]:
    """The job that was noted, if one was. Blocks."""
    try:
        return [objects.read(keys.capture_task_job(capture_id)).decode()]
    except ObjectNotFound:
        return []
