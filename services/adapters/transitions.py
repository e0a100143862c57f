"""The steps of a job as pure functions: a record in, the next record out, or None where the step does not apply.

The store applies them in a compare-and-set on the record's version, so what a step has read still holds when it is written.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from services.adapters.webhook_events import event_type
from services.contract.codes import RETRYABLE, JobErrorCode
from services.contract.jobs import Attempt, JobError, JobRecord, JobResult
from services.contract.states import JobStatus, may_follow

Outcome = Literal["succeeded", "failed", "canceled", "lost", "released"]
HELD = frozenset({JobStatus.RUNNING, JobStatus.CANCELING})


def holds(record: JobRecord, token: str) -> bool:
    """Say whether the attempt with this fencing token holds the job now."""
    return record.status in HELD and record.token == token


def ended_as(record: JobRecord, token: str, outcome: Outcome) -> bool:
    """Say whether the attempt with this token ended so: tells a step whose answer got lost from one that was refused."""
    return any(attempt.token == token and attempt.outcome == outcome for attempt in record.attempts)


def claim(record: JobRecord, worker: str, token: str, now: datetime) -> JobRecord | None:
    """A worker takes a queued job: attempt + 1, a new fencing token."""
    if record.status is not JobStatus.QUEUED:
        return None
    attempt = Attempt(number=len(record.attempts) + 1, token=token, worker=worker, started_at=now)
    return _step(record, JobStatus.RUNNING, token=token, started_at=now, attempts=[*record.attempts, attempt])


def expire(record: JobRecord, now: datetime) -> JobRecord | None:
    """The deadline passed while the job was queued."""
    if record.status is not JobStatus.QUEUED or record.deadline_at is None or record.deadline_at > now:
        return None
    return _step(record, JobStatus.EXPIRED, finished_at=now)


def succeed(record: JobRecord, result: JobResult, now: datetime) -> JobRecord:
    """The attempt that holds the job publishes its result; a cancellation that came too late is not heard."""
    warnings = [*record.warnings, *(text for text in result.warnings if text not in record.warnings)]
    attempts = _end_attempt(record, "succeeded", now)
    return _step(record, JobStatus.SUCCEEDED, attempts=attempts, result=result, warnings=warnings, token=None, finished_at=now)


def fail(record: JobRecord, error: JobError, now: datetime) -> JobRecord:
    """The attempt that holds the job ends it with an error."""
    attempts = _end_attempt(record, "failed", now, error)
    return _step(record, JobStatus.FAILED, attempts=attempts, error=error, token=None, finished_at=now)


def cancel(record: JobRecord, now: datetime) -> JobRecord:
    """The attempt that holds the job has stopped because a client asked for it."""
    attempts = _end_attempt(record, "canceled", now)
    if record.status is JobStatus.RUNNING:
        record = _step(record, JobStatus.CANCELING)
    return _step(record, JobStatus.CANCELED, attempts=attempts, token=None, finished_at=now)


def release(record: JobRecord, now: datetime) -> JobRecord:
    """A worker that must end gives the job back; the attempt does not count as lost."""
    if record.status is JobStatus.CANCELING:
        return cancel(record, now)
    attempts = _end_attempt(record, "released", now)
    return _step(record, JobStatus.QUEUED, attempts=attempts, token=None, started_at=None, queued_at=now)


def lose(record: JobRecord, error: JobError, max_attempts: int, now: datetime) -> JobRecord:
    """The worker died or was not heard for a lease: queue the job again, or end it when its attempts are used up.

    Memory that did not suffice will not suffice again: `out_of_memory` ends the job at once.
    """
    if record.status is JobStatus.CANCELING:
        return cancel(record, now)
    attempts = _end_attempt(record, "lost", now, error)
    lost = sum(attempt.outcome == "lost" for attempt in attempts)
    if lost >= max_attempts or error.code is JobErrorCode.OUT_OF_MEMORY:
        final = error if lost == 1 else error.model_copy(update={"message": f"{error.message} ({lost} attempts were lost)"})
        return _step(record, JobStatus.FAILED, attempts=attempts, error=final, token=None, finished_at=now)
    return _step(record, JobStatus.QUEUED, attempts=attempts, token=None, started_at=None, queued_at=now)


def request_cancel(record: JobRecord, now: datetime) -> JobRecord | None:
    """A client wants the job to stop: at once while queued, through the worker's heart-beat while running."""
    if record.status is JobStatus.QUEUED:
        return _step(record, JobStatus.CANCELED, finished_at=now)
    if record.status is JobStatus.RUNNING:
        return _step(record, JobStatus.CANCELING)
    return None


def delete(record: JobRecord, now: datetime) -> JobRecord | None:
    """Leave a tombstone: what the client sent and what was made of it is gone from the record."""
    if not record.terminal or record.deleted_at is not None:
        return None
    empty: dict[str, Any] = {"images": [], "labels": {}, "options": {}, "warnings": [], "result": None, "error": None}
    empty["webhook"] = None
    return record.model_copy(update={"version": record.version + 1, "deleted_at": now, **empty})


def job_error(code: JobErrorCode, message: str, hint: str | None = None) -> JobError:
    """Build an error; whether it is worth another try follows from its code."""
    return JobError(code=code, message=message, retryable=code in RETRYABLE, hint=hint)


def _step(record: JobRecord, following: JobStatus, **changes: Any) -> JobRecord:
    if not may_follow(record.status, following):
        raise ValueError(f"job {record.id} is {record.status}; it cannot become {following}")
    webhook = record.webhook
    if webhook is not None and event_type(following) in webhook.events:
        changes["webhook"] = webhook.model_copy(update={"sequence": webhook.sequence + 1})
    return record.model_copy(update={"status": following, "version": record.version + 1, **changes})


def _end_attempt(record: JobRecord, outcome: Outcome, now: datetime, error: JobError | None = None) -> list[Attempt]:
    return [
        attempt.model_copy(update={"ended_at": now, "outcome": outcome, "error": error})
        if attempt.token == record.token
        else attempt
        for attempt in record.attempts
    ]
