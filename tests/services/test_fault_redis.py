"""A Redis that comes back empty, seen from outside: nothing that was accepted, made or deleted is different afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.adapters.capture_reaping import reap_captures, sweep_captures
from services.adapters.embedded import EmbeddedRedis
from services.adapters.job_documents import JobDocuments
from services.adapters.reaper import recover_from_restart
from services.contract.jobs import JobResult, Metrics, Quality, Scale
from services.contract.keys import TOMBSTONES_PREFIX, capture_image
from services.contract.states import JobStatus
from tests.services.api_stand import Api, assert_problem, open_api
from tests.services.bad_files import photo
from tests.services.conftest import make_settings
from tests.services.service_stand import Stand, StandFactory, make_record
from tests.services.test_api_captures import filled, new_capture, put, submit

NEVER_S = 3600.0  # a lease so long that no reaper comes by itself within the test


def lose_everything(server: EmbeddedRedis) -> None:
    """The server crashes, and its disk is lost."""
    server.kill()
    shutil.rmtree(server.folder)
    server.start()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[tuple[Api, EmbeddedRedis]]:
    """An API with a Redis of its own."""
    with EmbeddedRedis(tmp_path / "redis") as server, open_api(make_settings(server.url, tmp_path, lease_s=NEVER_S)) as opened:
        yield opened, server


def shown(api: Api, path: str, **query: str) -> Any:
    """What a client sees; the place in the queue and progress are not kept."""
    answer = api.http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    for each in body.get("items", [body]):
        each.pop("progress", None)
        each.pop("queue", None)
    return body


def job_on(api: Api, capture: str, **wishes: Any) -> str:
    answer = submit(api, capture, **wishes)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_jobs_labels_lists_captures_and_tombstones_are_as_before(mortal: tuple[Api, EmbeddedRedis]) -> None:
    api, server = mortal
    shared, open_capture = filled(api), filled(api)
    labelled = [job_on(api, shared, labels={"site": site}) for site in ("north", "south", "north")]
    done, canceled, deleted = (job_on(api, shared) for _ in range(3))
    api.finish(done)
    for each in (canceled, deleted):
        assert api.http.post(f"/v1/jobs/{each}/cancel").status_code == 202
    assert api.http.delete(f"/v1/jobs/{deleted}").status_code == 204
    jobs = [f"/v1/jobs/{each}" for each in (*labelled, done, canceled)]
    JobDocuments(api.store, api.objects).write(done)
    before: dict[str, Any] = {
        path: shown(api, path) for path in (*jobs, f"/v1/captures/{shared}", f"/v1/captures/{open_capture}")
    }
    lists = [
        {},
        {"label": "site=north"},
        {"label": "site"},
        {"status": "queued"},
        {"status": "succeeded"},
        {"status": "canceled"},
    ]
    pages = [shown(api, "/v1/jobs", **query) for query in lists]
    assert [len(page["items"]) for page in pages] == [5, 2, 3, 3, 1, 1]
    lose_everything(server)
    assert shown(api, jobs[0]) == before[jobs[0]], "read from its copy before anything is put back"
    assert [shown(api, "/v1/jobs", **query) for query in lists] == pages
    assert {path: shown(api, path) for path in before} == before
    assert_problem(api.http.get(f"/v1/jobs/{deleted}"), 410, "gone")
    assert put(api, open_capture, "photo_0.jpg", photo(0)).status_code == 200
    assert put(api, open_capture, "photo_9.jpg", photo(9)).status_code == 201
    assert_problem(put(api, shared, "photo_9.jpg", photo(9)), 409, "capture_frozen")
    for index, count in (("queued", 3), ("expiry", 3), ("leases", 0)):
        assert api.store.redis.zcard(api.store.prefix + index) == count, index


def cancel(api: Api, capture: str, job: str) -> httpx.Response:
    return api.http.post(f"/v1/jobs/{job}/cancel")


def retry(api: Api, capture: str, job: str) -> httpx.Response:
    return api.http.post(f"/v1/jobs/{job}/retry")


def delete(api: Api, capture: str, job: str) -> httpx.Response:
    return api.http.delete(f"/v1/jobs/{job}")


def delete_capture(api: Api, capture: str, job: str) -> httpx.Response:
    return api.http.delete(f"/v1/captures/{capture}")


@pytest.mark.parametrize(("ask", "status"), [(cancel, 202), (retry, 409), (delete, 204), (delete_capture, 409)])
def test_the_first_request_afterwards_knows_what_there_is(mortal: tuple[Api, EmbeddedRedis], ask: Any, status: int) -> None:
    """Above all: a capture is not deleted under a job that waits for it."""
    api, server = mortal
    capture = filled(api)
    job = job_on(api, capture)
    lose_everything(server)
    assert ask(api, capture, job).status_code == status
    if status == 409:
        assert api.objects.read(capture_image(capture, "photo_0.jpg")) == photo(0)
        assert api.job(job)["status"] == "queued"


def test_a_deleted_capture_stays_deleted_and_its_removal_goes_on(mortal: tuple[Api, EmbeddedRedis]) -> None:
    api, server = mortal
    deleted, cut_off = filled(api), filled(api)
    assert api.http.delete(f"/v1/captures/{deleted}").status_code == 204
    names = [entry.key for entry in api.objects.list(f"captures/{cut_off}/")]
    kept = {key: api.objects.read(key) for key in names}
    assert api.http.delete(f"/v1/captures/{cut_off}").status_code == 204
    for key, data in kept.items():  # as if the API had died before it removed them
        api.objects.put(key, data)
    lose_everything(server)
    for capture in (deleted, cut_off):
        assert_problem(api.http.get(f"/v1/captures/{capture}"), 410, "gone")
        assert_problem(put(api, capture, "new.jpg", photo(5)), 410, "gone")
    assert recover_from_restart(api.store, JobDocuments(api.store, api.objects)) == 0
    reap_captures(api.store, api.objects, api.settings)
    assert api.stored("captures/") == []
    later = api.settings.model_copy(update={"tombstone_days": 0.0, "capture_expiry_h": 0.0})
    assert len(api.stored(TOMBSTONES_PREFIX)) == 2
    sweep_captures(api.store, api.objects, later)
    assert api.stored(TOMBSTONES_PREFIX) == []


def test_while_the_records_cannot_be_put_back_lists_are_refused_not_short(
    mortal: tuple[Api, EmbeddedRedis], tmp_path: Path
) -> None:
    api, server = mortal
    job = job_on(api, filled(api))
    objects, away = tmp_path / "objects", tmp_path / "away"
    lose_everything(server)
    objects.rename(away)
    problem = assert_problem(api.http.get("/v1/jobs"), 503, "storage_unavailable")
    assert problem["retryable"]
    away.rename(objects)
    assert [item["id"] for item in api.http.get("/v1/jobs").json()["items"]] == [job]


def test_a_new_service_lists_nothing_at_once(mortal: tuple[Api, EmbeddedRedis]) -> None:
    api, _ = mortal
    assert api.http.get("/v1/jobs").json()["items"] == []
    assert api.http.delete(f"/v1/captures/{new_capture(api)}").status_code == 204


def result_of(token: str) -> JobResult:
    return JobResult(
        token=token, artifacts=[], scale=Scale(metric=False, source="none"), quality=Quality(verdict="good"), metrics=Metrics()
    )


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "not announced"])
def test_an_end_that_was_told_is_kept_though_its_copy_was_never_written(own_stand: StandFactory, announced: bool) -> None:
    """The worker's commit and the loss of Redis fall between two writes; without the announcement the job runs again."""
    stand: Stand = own_stand(lease_s=NEVER_S)
    assert stand.server is not None
    record = make_record(stand.settings)
    stand.store.create(record)
    claimed = stand.store.claim(record.id, "host/1/2")
    assert claimed is not None
    assert claimed.token is not None
    stand.documents.write(record.id)
    if announced:
        stand.documents.announce(record.id, result_of(claimed.token))
    assert stand.store.commit(record.id, claimed.token, result_of(claimed.token))
    lose_everything(stand.server)
    assert recover_from_restart(stand.store, stand.documents) == 1
    after = stand.store.require(record.id)
    assert after.status is (JobStatus.SUCCEEDED if announced else JobStatus.RUNNING)
    assert stand.store.commit(record.id, claimed.token, result_of(claimed.token)), "its worker hears that it is published"


def test_what_an_attempt_announced_that_lost_the_job_is_not_published(own_stand: StandFactory) -> None:
    stand: Stand = own_stand(lease_s=NEVER_S)
    assert stand.server is not None
    record = make_record(stand.settings)
    stand.store.create(record)
    first = stand.store.claim(record.id, "host/1/2")
    assert first is not None
    assert first.token is not None
    stand.documents.announce(record.id, result_of(first.token))
    stand.store.release(record.id, first.token)
    second = stand.store.claim(record.id, "host/1/3")
    stand.documents.write(record.id)
    lose_everything(stand.server)
    recover_from_restart(stand.store, stand.documents)
    assert stand.store.require(record.id) == second
