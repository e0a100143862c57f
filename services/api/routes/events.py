"""`GET /v1/jobs/{id}/events`: what happens to a job, as server-sent events."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from services.api.answers import refusals
from services.api.job_access import RECHECK_S, find_job
from services.api.links import base_url
from services.api.request_frame import HEAD_FLAG
from services.api.wiring import Authorized, Services, Wired
from services.contract.event_stream import GapEvent
from services.contract.events import JobEvent
from services.contract.ids import is_id

router = APIRouter(tags=["jobs"])

_EVENT_ID = re.compile(r"\d{1,20}-\d{1,20}")


class StreamOverError(Exception):
    """The client has seen the last event; it is told not to come back (204 ends an EventSource)."""


@dataclass(frozen=True)
class Stream:
    """Where a client's stream begins."""

    job: bytes  # the job as it is
    job_ended: bool
    last_id: str  # the newest event when the job was read
    after: str | None  # what follows this event is wanted; None: begin with the job
    gap: GapEvent | None


async def open_stream(
    job_id: str,
    request: Request,
    services: Wired,
    caller: Authorized,
    last_event_id: Annotated[str | None, Header(description="The last event seen: those after it are sent again")] = None,
) -> Stream:
    """Find the job and decide where to begin, while a refusal can still be answered."""
    # Read before the job: what happens in between is then sent twice rather than not at all.
    last_id = await services.watch.last_event_id(job_id) if is_id("job", job_id) else ""
    snapshot = await find_job(services, caller, job_id)
    body, ended = snapshot.body(base_url(request)), snapshot.record.terminal
    if last_event_id is None:
        return Stream(body, ended, last_id, None, None)
    known = _EVENT_ID.fullmatch(last_event_id) is not None and await services.watch.has_event(job_id, last_event_id)
    if not known:
        gap = GapEvent(last_event_id=last_event_id[:60], reason="this event is not kept (any more)")
        return Stream(body, ended, last_id, None, gap)
    if ended and last_event_id == last_id:
        raise StreamOverError(job_id)
    return Stream(body, ended, last_id, last_event_id, None)


@router.get(
    "/v1/jobs/{job_id}/events",
    operation_id="streamJobEvents",
    summary="Follow a job",
    response_class=EventSourceResponse,
    responses={
        200: {"description": "Events `job`, `status`, `progress` and `gap`; the stream ends after the job has"},
        204: {"description": "The job has ended and `Last-Event-ID` was its last event"},
        **refusals(404, 410),
    },
)
async def stream_job_events(
    job_id: str, request: Request, services: Wired, stream: Annotated[Stream, Depends(open_stream)]
) -> AsyncIterator[ServerSentEvent]:
    """Send what happens to a job: `job` (the whole job) first, then `status` and `progress` as they come.

    Every event has an id. A client that comes back with `Last-Event-ID` gets what it has missed, or `gap` and the whole job when
    that is not kept any more. A comment is sent every 15 s while nothing happens.
    """
    if request.scope.get(HEAD_FLAG):
        return
    if stream.gap is not None:
        yield ServerSentEvent(event="gap", raw_data=stream.gap.model_dump_json())
    after = stream.after
    if after is None:
        yield ServerSentEvent(event="job", id=stream.last_id, raw_data=stream.job.decode())
        if stream.job_ended:
            return
        after = stream.last_id
    async for event in _follow(services, job_id, after):
        yield event


async def _follow(services: Services, job_id: str, after: str) -> AsyncIterator[ServerSentEvent]:
    """Send events as they come until the job has ended or its data is gone."""
    with services.watch.watch(job_id) as watcher:
        while True:
            events = await services.jobs.events(job_id, after)
            for event in events:
                after = event.id
                yield _as_sse(event)
                if event.data.get("terminal"):
                    return
            if events:
                continue
            if not await watcher.wait(RECHECK_S) and await _is_over(services, job_id):
                return


def _as_sse(event: JobEvent) -> ServerSentEvent:
    data: dict[str, Any] = event.data
    return ServerSentEvent(event=event.event, id=event.id, data=data)


async def _is_over(services: Services, job_id: str) -> bool:
    """Whether the job ended without an event that we could see: it was deleted, or Redis lost the stream."""
    record = await services.jobs.get(job_id)
    return record is None or record.terminal
