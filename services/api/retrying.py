"""Doing a job again: a new job with the same wishes, on the same photographs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from anyio import to_thread

from services.adapters.job_store import CaptureGone
from services.api.acceptance import Accepted, accept_record
from services.api.problems import ProblemError
from services.api.wiring import Services
from services.contract import keys
from services.contract.codes import ProblemCode
from services.contract.jobs import JobRecord
from services.contract.states import JobStatus

RETRIED = (JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED)


class RetrySubmission:
    """A wish to do a job again."""

    def __init__(self, before: JobRecord, services: Services, request_id: str) -> None:
        self._before = before
        self._services = services
        self._request_id = request_id

    @property
    def fingerprint(self) -> str:
        return f"retry of {self._before.id}"

    async def accept(self, job_id: str) -> Accepted:
        _require_retriable(self._before)
        record = repeat(self._before, job_id, datetime.now(UTC), self._services.settings.retention_days)
        return await to_thread.run_sync(self._accept, record, limiter=self._services.store_threads)

    async def discard(self) -> None:
        return None

    def _accept(self, record: JobRecord) -> Accepted:
        self._require_photographs(record)
        try:
            return accept_record(record, self._services, self._request_id, lambda: None, requires=self._before.id)
        except CaptureGone:
            raise _photographs_gone(record) from None

    def _require_photographs(self, record: JobRecord) -> None:
        folder = keys.capture_prefix(record.capture_id)
        stored = {found.key for found in self._services.objects.list(folder)}
        wanted = {keys.capture_image(record.capture_id, image.name) for image in record.images}
        wanted |= {keys.capture_prior(record.capture_id, prior.id) for prior in record.priors}
        if not stored >= wanted:
            raise _photographs_gone(record)


def repeat(before: JobRecord, job_id: str, now: datetime, retention_days: float) -> JobRecord:
    """Write down a job that does another one again: what was wished and sent is the same, a deadline as far away as then."""
    deadline_at = None if before.deadline_at is None else now + (before.deadline_at - before.created_at)
    return JobRecord(
        id=job_id,
        tenant=before.tenant,
        capture_id=before.capture_id,
        owns_capture=before.owns_capture,
        retry_of=before.id,
        preset=before.preset,
        options=before.options,
        outputs=before.outputs,
        strict_images=before.strict_images,
        labels=before.labels,
        images=before.images,
        priors=before.priors,
        warnings=before.warnings,
        created_at=now,
        queued_at=now,
        deadline_at=deadline_at,
        retention_until=now + timedelta(days=retention_days),
        webhook=before.webhook.model_copy(update={"sequence": 0}) if before.webhook else None,
    )


def _require_retriable(before: JobRecord) -> None:
    if before.status in RETRIED:
        return
    remedy = "submit it again for another result" if before.terminal else "it has not ended; wait, or cancel it first"
    detail = f"job {before.id} is {before.status.value}; {remedy}"
    raise ProblemError(409, ProblemCode.CONFLICT, detail, retryable=not before.terminal)


def _photographs_gone(record: JobRecord) -> ProblemError:
    return ProblemError(409, ProblemCode.CONFLICT, f"the photographs of job {record.retry_of} were deleted; submit them again")
