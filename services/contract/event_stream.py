"""What a job's event stream carries (`GET /v1/jobs/{id}/events`).

`job` (a Job, first of all and after a gap), `status` (StatusEvent), `progress` (ProgressReport), `gap` (GapEvent).
"""

from __future__ import annotations

from services.contract.jobs import JobError, Model
from services.contract.states import JobStatus


class StatusEvent(Model):
    """The job took a step. After the one with `terminal: true` the stream ends."""

    status: JobStatus
    terminal: bool
    version: int
    attempt: int  # attempts so far
    error: JobError | None = None


class GapEvent(Model):
    """Events between the client's `Last-Event-ID` and now are no longer kept; a `job` event with the whole job follows."""

    last_event_id: str
    reason: str
