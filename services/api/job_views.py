"""From the record, which is the truth, to the job that clients see."""

from __future__ import annotations

from services.api.links import job_links
from services.contract.jobs import Attempt, AttemptView, Job, JobRecord, ProgressReport, QueueInfo
from services.contract.states import JobStatus
from services.contract.webhooks import WebhookView


def view_job(record: JobRecord, base: str, progress: ProgressReport | None, position: int | None) -> Job:
    """Show a job.

    Args:
        base: where clients reach the service.
        progress: the newest report of the attempt that holds the job, if any.
        position: how many jobs stand before it in the queue.
    """
    result = record.result
    running = record.status in (JobStatus.RUNNING, JobStatus.CANCELING)
    shown = progress if running or record.terminal else None
    queued = record.status == JobStatus.QUEUED and position is not None
    webhook = record.webhook
    links = job_links(base, record.id, record.retry_of)
    if webhook is not None:
        links["deliveries"] = f"{links['self']}/deliveries"
    return Job(
        id=record.id,
        capture_id=record.capture_id,
        retry_of=record.retry_of,
        status=record.status,
        terminal=record.terminal,
        preset=record.preset,
        options=record.options,
        outputs=record.outputs,
        labels=record.labels,
        stage=shown.stage if shown is not None and running else None,
        progress=shown,
        queue=QueueInfo(position=position) if queued and position is not None else None,
        attempts=[_view_attempt(attempt) for attempt in record.attempts],
        error=record.error,
        created_at=record.created_at,
        queued_at=record.queued_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        deadline_at=record.deadline_at,
        retention_until=record.retention_until,
        metrics=result.metrics if result is not None else None,
        scale=result.scale if result is not None else None,
        quality=result.quality if result is not None else None,
        warnings=_unique(record.warnings + (result.warnings if result is not None else [])),
        webhook=None if webhook is None else WebhookView(url=webhook.url, events=webhook.events),
        links=links,
    )


def _view_attempt(attempt: Attempt) -> AttemptView:
    """Leave out the fencing token and the worker's name: neither is a client's business."""
    return AttemptView(
        number=attempt.number,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        outcome=attempt.outcome,
        error=attempt.error,
    )


def _unique(lines: list[str]) -> list[str]:
    return list(dict.fromkeys(lines))
