"""What a receiver is told of a step of a job. Made where the step is made, and written in the same compare-and-set."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from services.adapters.settings import Settings
from services.contract.jobs import JobRecord
from services.contract.states import JobStatus
from services.contract.webhooks import EventType, WebhookData, WebhookError, WebhookEvent


@dataclass(frozen=True)
class OutboxEntry:
    """An event as the outbox keeps it."""

    id: str  # from job, version and status: the same step has the same id even after Redis lost and regained it
    sequence: int
    type: EventType
    at_ms: int  # of the step
    body: str  # signed and sent byte for byte at every try


def entry_of(record: JobRecord, settings: Settings) -> OutboxEntry | None:
    """The event of a record that has just taken its step; None when nobody asked for it."""
    webhook, name = record.webhook, event_type(record.status)
    if webhook is None or name not in webhook.events or record.deleted_at is not None:
        return None
    changed_at = record.finished_at or record.started_at or record.queued_at
    event = WebhookEvent(type=name, timestamp=changed_at, data=_describe(record, webhook.sequence, settings))
    event_id = f"evt_{record.id.removeprefix('job_')}_{record.version}_{record.status.value}"
    at_ms = round(changed_at.timestamp() * 1000)
    return OutboxEntry(event_id, webhook.sequence, name, at_ms, event.model_dump_json())


def write_entry(entry: OutboxEntry) -> str:
    """Write an entry as one line of JSON."""
    return json.dumps(asdict(entry))


def read_entry(line: str) -> OutboxEntry:
    """Read what `write_entry` wrote."""
    return OutboxEntry(**json.loads(line))


def event_type(status: JobStatus) -> str:
    """The event of a status; not every one is an `EventType`."""
    return f"job.{status.value}"


def _describe(record: JobRecord, sequence: int, settings: Settings) -> WebhookData:
    error = record.error
    base = settings.public_base_url
    return WebhookData(
        job_id=record.id,
        sequence=sequence,
        status=record.status,
        terminal=record.terminal,
        attempt=len(record.attempts),
        labels=record.labels,
        capture_id=record.capture_id,
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        error=None if error is None else WebhookError(code=error.code, message=error.message, retryable=error.retryable),
        url=None if base is None else f"{base.rstrip('/')}/v1/jobs/{record.id}",
    )
