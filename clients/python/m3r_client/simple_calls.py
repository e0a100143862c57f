"""Operations of one request each."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from m3r_client.answers import Artifact, Capture, Info, Job, JobPage
from m3r_client.decoding import decode
from m3r_client.errors import Conflict, Gone
from m3r_client.retrying import RetryPolicy, read_json, send
from m3r_client.steps import Emit, Request, Steps


def get_info(policy: RetryPolicy) -> Steps[Info]:
    answer = yield from send(Request("GET", "/v1/info"), policy)
    return decode(Info, read_json(answer))


def get_options(policy: RetryPolicy) -> Steps[dict[str, Any]]:
    answer = yield from send(Request("GET", "/v1/options"), policy)
    schema: dict[str, Any] = read_json(answer)
    return schema


def get_job(policy: RetryPolicy, job_id: str) -> Steps[Job]:
    answer = yield from send(Request("GET", job_path(job_id)), policy)
    return decode(Job, read_json(answer))


def list_jobs(policy: RetryPolicy, status: str | None, label: str | None, page_size: int) -> Steps[None]:
    """Emits every job, newest first, page by page."""
    wanted = {"status": status, "label": label}
    params: dict[str, str | int | float] = {"limit": page_size, **{name: text for name, text in wanted.items() if text}}
    while True:
        answer = yield from send(Request("GET", "/v1/jobs", params), policy)
        page = decode(JobPage, read_json(answer))
        for job in page.items:
            yield Emit(job)
        if page.next_cursor is None:
            return
        params = {**params, "cursor": page.next_cursor}


def cancel_job(policy: RetryPolicy, job_id: str) -> Steps[Job]:
    """A job that an earlier try of the same request has canceled is canceled."""
    try:
        answer = yield from send(Request("POST", f"{job_path(job_id)}/cancel"), policy)
    except Conflict:
        job = yield from get_job(policy, job_id)
        if job.status in ("canceling", "canceled"):
            return job
        raise
    return decode(Job, read_json(answer))


def retry_job(policy: RetryPolicy, job_id: str, key: str) -> Steps[Job]:
    answer = yield from send(Request("POST", f"{job_path(job_id)}/retry", headers={"Idempotency-Key": key}), policy)
    return decode(Job, read_json(answer))


def delete_job(policy: RetryPolicy, job_id: str) -> Steps[None]:
    yield from _delete(policy, job_path(job_id))


def delete_capture(policy: RetryPolicy, capture_id: str) -> Steps[None]:
    yield from _delete(policy, capture_path(capture_id))


def get_capture(policy: RetryPolicy, capture_id: str) -> Steps[Capture]:
    answer = yield from send(Request("GET", capture_path(capture_id)), policy)
    return decode(Capture, read_json(answer))


def create_capture(policy: RetryPolicy) -> Steps[Capture]:
    """Sent again when no answer came: an empty capture that nobody heard of expires by itself."""
    answer = yield from send(Request("POST", "/v1/captures"), policy)
    return decode(Capture, read_json(answer))


def list_artifacts(policy: RetryPolicy, job_id: str) -> Steps[list[Artifact]]:
    answer = yield from send(Request("GET", f"{job_path(job_id)}/artifacts"), policy)
    return [decode(Artifact, each) for each in read_json(answer)]


def job_path(job_id: str) -> str:
    """Where a job is."""
    return f"/v1/jobs/{quote(job_id, safe='')}"


def capture_path(capture_id: str) -> str:
    """Where a capture is."""
    return f"/v1/captures/{quote(capture_id, safe='')}"


def _delete(policy: RetryPolicy, path: str) -> Steps[None]:
    """What is gone is deleted, by an earlier try of the same request perhaps."""
    try:
        yield from send(Request("DELETE", path), policy)
    except Gone:
        return
