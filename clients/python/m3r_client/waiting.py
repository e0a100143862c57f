"""Waiting for a job's end: by long polls, each answered as soon as anything in the job has changed, or by its event stream."""

from __future__ import annotations

import time
from typing import Any

from m3r_client.answers import Job, JobEvent, ProgressReport
from m3r_client.decoding import decode
from m3r_client.errors import WaitTimeout
from m3r_client.event_stream import follow_job
from m3r_client.progress import OnProgress, Progress
from m3r_client.retrying import RetryPolicy, read_json, send
from m3r_client.simple_calls import get_job, job_path
from m3r_client.steps import Emit, Pause, Request, Steps

POLL_S = 20.0
NOT_FASTER_S = 0.1  # between polls, whatever the service answers


def wait_for_job(policy: RetryPolicy, job_id: str, timeout_s: float | None, on_progress: OnProgress) -> Steps[Job]:
    """Wait until a job has ended, and give it; raises WaitTimeout when it has not in time."""
    until = None if timeout_s is None else time.monotonic() + timeout_s
    etag, job = "", None
    while True:
        left = POLL_S if until is None else min(POLL_S, max(until - time.monotonic(), 0.0))
        request = Request(
            "GET",
            job_path(job_id),
            {"wait": round(left, 3) if etag else 0},  # the first answer comes at once
            {"If-None-Match": etag} if etag else {},
            silence_s=left + 30.0,
        )
        answer = yield from send(request, policy)
        if answer.status != 304:
            etag = answer.headers.get("etag", "")
            job = decode(Job, read_json(answer))
            on_progress(describe(job))
            if job.terminal:
                return job
        if until is not None and time.monotonic() >= until:
            raise WaitTimeout(f"job {job_id} is {job.status if job else 'as before'} after {timeout_s:g} s; it goes on")
        yield Pause(NOT_FASTER_S)


def wait_with_events(policy: RetryPolicy, job_id: str, timeout_s: float | None, on_progress: OnProgress) -> Steps[Job]:
    """Wait for a job's end by its event stream, and give the job as it is then."""
    until = None if timeout_s is None else time.monotonic() + timeout_s
    events = follow_job(policy, job_id, None)
    answer: Any = None
    while True:
        try:
            step = events.send(answer)
        except StopIteration:
            return (yield from _last_look(policy, job_id, on_progress))
        if isinstance(step, Emit):
            answer = None
            if until is not None and time.monotonic() >= until and not step.value.terminal:
                raise WaitTimeout(f"job {job_id} has not ended after {timeout_s:g} s; it goes on")
            if (progress := _heard(step.value)) is not None:
                on_progress(progress)
        else:
            answer = yield step


def _last_look(policy: RetryPolicy, job_id: str, on_progress: OnProgress) -> Steps[Job]:
    job = yield from get_job(policy, job_id)
    on_progress(describe(job))
    return job if job.terminal else (yield from wait_for_job(policy, job_id, None, on_progress))


def _heard(event: JobEvent) -> Progress | None:
    """What an event says of the progress."""
    if event.event == "progress":
        report = decode(ProgressReport, event.data)
        return Progress("job", report.fraction, report.stage)
    return describe(decode(Job, event.data)) if event.event == "job" else None


def describe(job: Job) -> Progress:
    """Say how far a job is."""
    fraction = job.progress.fraction if job.progress else 0.0
    running = job.status == "running" and job.progress is not None
    name = job.progress.stage if running and job.progress else job.status
    return Progress("job", 1.0 if job.succeeded else fraction, name, job)
