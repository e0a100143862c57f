"""A task as clients of this protocol see it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from services.api.job_snapshot import JobSnapshot
from services.contract.jobs import JobRecord
from services.contract.states import JobStatus
from services.nodeodm.task_document import TaskDocument

QUEUED, RUNNING, FAILED, COMPLETED, CANCELED = 10, 20, 30, 40, 50
CODES = {
    JobStatus.QUEUED: QUEUED,
    JobStatus.RUNNING: RUNNING,
    JobStatus.CANCELING: RUNNING,
    JobStatus.SUCCEEDED: COMPLETED,
    JobStatus.FAILED: FAILED,
    JobStatus.EXPIRED: FAILED,
    JobStatus.CANCELED: CANCELED,
}


def view_task(task: TaskDocument, job: JobSnapshot) -> dict[str, Any]:
    """Show a task; times in milliseconds, progress in percent."""
    record = job.record
    return {
        "uuid": task.uuid,
        "name": task.name,
        "dateCreated": round(task.created_at.timestamp() * 1000),
        "processingTime": _processing_ms(record),
        "status": _status(record),
        "options": [option.model_dump() for option in task.options],
        "imagesCount": len(record.images),
        "progress": _percent(job),
    }


def _status(record: JobRecord) -> dict[str, Any]:
    status: dict[str, Any] = {"code": CODES[record.status]}
    if record.error is not None:
        hint = f" {record.error.hint}" if record.error.hint else ""
        status["errorMessage"] = f"{record.error.code.value}: {record.error.message}{hint}"
    elif record.status is JobStatus.EXPIRED:
        status["errorMessage"] = "its deadline passed while it waited"
    return status


def _processing_ms(record: JobRecord) -> int:
    if record.started_at is None:
        return -1
    return round(((record.finished_at or datetime.now(UTC)) - record.started_at).total_seconds() * 1000)


def _percent(job: JobSnapshot) -> float:
    if job.record.status is JobStatus.SUCCEEDED:
        return 100.0
    running = job.record.status in (JobStatus.RUNNING, JobStatus.CANCELING)
    return round(100 * job.progress.fraction, 1) if running and job.progress else 0.0
