"""`POST /v1/jobs/{id}/retry` and `deadline_s` over HTTP: a job is done again on the same photographs, or not after its time."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import pytest

from services.adapters.job_store import CaptureGone
from services.contract.ids import new_id
from services.contract.states import JobStatus
from tests.services.api_stand import Api, api, assert_problem, good_photos
from tests.services.service_stand import Stand, wait_for

__all__ = ["api"]


def canceled(api: Api, **fields: str) -> str:
    """A job that was canceled; gives its id."""
    job_id = str(api.new_job(**fields)["id"])
    assert api.http.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
    return job_id


def test_a_canceled_job_is_done_again(api: Api) -> None:
    wishes = {"options": '{"seed": 5}', "preset": "fast", "outputs": "mesh.ply", "labels": '{"site": "north"}'}
    first = canceled(api, **wishes)
    answer = api.http.post(f"/v1/jobs/{first}/retry")
    assert answer.status_code == 202, answer.text
    again, before = answer.json(), api.job(first)
    assert answer.headers["location"] == again["links"]["self"] == f"{api.url}/v1/jobs/{again['id']}"
    assert again["id"] != first
    assert (again["retry_of"], again["links"]["retry_of"]) == (first, before["links"]["self"])
    assert (again["status"], again["attempts"], before["status"]) == ("queued", [], "canceled")
    for name in ("capture_id", "preset", "options", "outputs", "labels"):
        assert again[name] == before[name]
    assert api.record(again["id"]).images == api.record(first).images
    api.finish(again["id"])
    assert api.job(again["id"])["status"] == "succeeded"


@pytest.mark.parametrize("end", ["queued", "running", "succeeded"])
def test_other_jobs_are_not(api: Api, end: str) -> None:
    job_id = api.new_job()["id"]
    if end == "running":
        api.claim(job_id)
    if end == "succeeded":
        api.finish(job_id)
    problem = assert_problem(api.http.post(f"/v1/jobs/{job_id}/retry"), 409, "conflict")
    assert problem["retryable"] is (end != "succeeded")
    assert len(api.http.get("/v1/jobs").json()["items"]) == 1


def test_a_job_that_is_not_there_or_deleted(api: Api) -> None:
    assert_problem(api.http.post(f"/v1/jobs/{new_id('job')}/retry"), 404, "not_found")
    first = canceled(api)
    assert api.http.delete(f"/v1/jobs/{first}").status_code == 204
    assert_problem(api.http.post(f"/v1/jobs/{first}/retry"), 410, "gone")


def test_another_tenant_s_job_is_404(api: Api) -> None:
    record = api.record(canceled(api))
    other = record.model_copy(update={"id": new_id("job"), "tenant": "other"})
    api.store.create(other)
    assert_problem(api.http.post(f"/v1/jobs/{other.id}/retry"), 404, "not_found")


def test_photographs_live_until_the_last_job_that_has_them_is_deleted(api: Api) -> None:
    first = canceled(api)
    again = api.http.post(f"/v1/jobs/{first}/retry").json()
    folder = f"captures/{again['capture_id']}/"
    assert api.http.delete(f"/v1/jobs/{first}").status_code == 204
    assert len(api.stored(folder)) == 2
    api.finish(again["id"])
    assert api.http.delete(f"/v1/jobs/{again['id']}").status_code == 204
    assert api.stored(folder) == []


def test_without_its_photographs_a_job_cannot_be_done_again(api: Api) -> None:
    first = canceled(api)
    api.objects.delete(f"captures/{api.job(first)['capture_id']}/images/photo_1.jpg")
    problem = assert_problem(api.http.post(f"/v1/jobs/{first}/retry"), 409, "conflict")
    assert "submit them again" in problem["detail"]


def test_a_retry_that_races_with_the_deletion_is_refused(api: Api) -> None:
    """The store itself refuses: the job it stands beside was deleted after it was read."""
    first = api.record(canceled(api))
    api.store.mark_deleted(first.id)
    record = first.model_copy(update={"id": new_id("job"), "status": JobStatus.QUEUED, "version": 0})
    with pytest.raises(CaptureGone):
        api.store.create(record, requires=first.id)
    assert api.store.get(record.id) is None


def test_a_repeated_retry_makes_one_job(api: Api) -> None:
    first = canceled(api)
    answers = [api.http.post(f"/v1/jobs/{first}/retry", headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true"]
    second = canceled(api)
    other = api.http.post(f"/v1/jobs/{second}/retry", headers={"Idempotency-Key": "k"})
    assert_problem(other, 422, "idempotency_key_reused")
    for _ in range(2):  # without a key, each is a job
        assert api.http.post(f"/v1/jobs/{first}/retry").status_code == 202
    assert len(api.http.get("/v1/jobs").json()["items"]) == 5


def test_a_deadline_is_kept_and_carried_out(api: Api) -> None:
    job = api.new_job(deadline_s="0.5")
    span = datetime.fromisoformat(job["deadline_at"]) - datetime.fromisoformat(job["created_at"])
    assert span == timedelta(seconds=0.5)
    ended = wait_for(lambda: now if (now := api.job(job["id"]))["terminal"] else None, what="the deadline")
    assert (ended["status"], ended["attempts"]) == ("expired", [])
    again = api.http.post(f"/v1/jobs/{job['id']}/retry").json()
    assert datetime.fromisoformat(again["deadline_at"]) - datetime.fromisoformat(again["created_at"]) == span


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", "2592001"])
def test_a_deadline_that_is_none_is_refused(api: Api, text: str) -> None:
    problem = assert_problem(api.submit(*good_photos(1), deadline_s=text), 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "/deadline_s"


def test_a_deadline_that_passes_while_the_job_runs_ends_it(stand: Stand) -> None:
    stand.start_worker()
    deadline_at = stand.store.now() + timedelta(seconds=2)
    started = time.monotonic()
    record = stand.submit(fake={"stages": {"decode": 20.0}}, deadline_at=deadline_at)
    ended = stand.wait_terminal(record)
    assert time.monotonic() - started < 12
    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    assert (ended.error.code, ended.attempts[0].outcome) == ("timeout", "failed")
    assert "deadline" in ended.error.message
