"""The last step of every submission: a record becomes an accepted job, or nothing of it stays."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import redis

from services.adapters.job_store import JobExists, TooManyJobs
from services.adapters.objects import ObjectStoreError
from services.adapters.settings import Settings
from services.adapters.submission import submit_job
from services.api.quotas import too_many_jobs
from services.api.submission_form import JobRequest
from services.api.wiring import Services
from services.contract import keys
from services.contract.jobs import ImageInput, JobRecord

log = logging.getLogger("services.api.acceptance")


@dataclass(frozen=True)
class Accepted:
    """A job that is kept."""

    record: JobRecord
    made_before: bool = False  # an earlier try of the same request had made it


class Submission(Protocol):
    """A request that was read and found right, and is not yet a job."""

    @property
    def fingerprint(self) -> str:
        """The same for the same request, whatever its bytes on the wire."""

    async def accept(self, job_id: str) -> Accepted:
        """Make it a job; raises ProblemError, ObjectStoreError or redis.RedisError when nothing was accepted."""

    async def discard(self) -> None:
        """Remove what was stored for it."""


def fingerprint(wanted: JobRequest, photos: Sequence[object]) -> str:
    """A digest of what is wanted and of the photographs, each as its name and SHA-256, or the capture they are in."""
    wishes = asdict(replace(wanted, webhook=None)) | {"webhook": wanted.webhook.model_dump() if wanted.webhook else None}
    facts = json.dumps([wishes, photos], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(facts.encode()).hexdigest()


def new_record(
    job_id: str, tenant: str, wanted: JobRequest, capture_id: str, images: list[ImageInput], settings: Settings
) -> JobRecord:
    """Write down what a submission asks for."""
    now = datetime.now(UTC)
    return JobRecord(
        id=job_id,
        tenant=tenant,
        capture_id=capture_id,
        preset=wanted.preset,
        options=wanted.options,
        outputs=wanted.outputs,
        strict_images=wanted.strict_images,
        labels=wanted.labels,
        images=images,
        created_at=now,
        queued_at=now,
        deadline_at=None if wanted.deadline_s is None else now + timedelta(seconds=wanted.deadline_s),
        retention_until=now + timedelta(days=settings.retention_days),
        webhook=wanted.webhook,
    )


def accept_record(
    record: JobRecord, services: Services, request_id: str, undo: Callable[[], None], requires: str | None = None
) -> Accepted:
    """Accept the job, or `undo` what it would have needed; `requires`: see `submit_job`. Blocks.

    When Redis breaks off in between, nobody knows whether it has the record; then the photographs stay, so that a job that turns
    out to be there can run.

    Raises:
        CaptureGone: the photographs are not to be had any more.
        ProblemError: the tenant has as many jobs as it may.
        ObjectStoreError, redis.RedisError: a store failed; nothing was accepted.
    """
    record = record.model_copy(update={"request_id": request_id})
    limit = services.quotas.allowance(record.tenant).jobs
    try:
        submit_job(record, services.blocking_jobs, services.documents, services.queue, requires, limit)
    except TooManyJobs:
        with contextlib.suppress(ObjectStoreError):
            undo()
        raise too_many_jobs(limit or 0) from None
    except JobExists:
        with contextlib.suppress(ObjectStoreError):
            undo()
        return Accepted(services.blocking_jobs.require(record.id), made_before=True)
    except (ObjectStoreError, redis.RedisError):
        with contextlib.suppress(ObjectStoreError, redis.RedisError):
            _forget(record, services)
            undo()
        raise
    services.metrics.accepted.inc()
    log.info("accepted %d photographs", len(record.images), extra={"job_id": record.id, "request_id": request_id})
    return Accepted(record)


def _forget(record: JobRecord, services: Services) -> None:
    kept = services.blocking_jobs.get(record.id)
    if kept is None or kept.created_at == record.created_at:  # else it is another try's
        services.blocking_jobs.forget(record)
        services.objects.delete_prefix(keys.job_prefix(record.id))
