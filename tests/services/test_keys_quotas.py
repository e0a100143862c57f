"""Quotas of tenants and room on the disk: what is beyond them is refused before its bytes, and nothing of it stays."""

from __future__ import annotations

import concurrent.futures
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.adapters.job_store import TooManyJobs
from services.adapters.settings import Settings
from services.adapters.usage import Usage, UsageMeter
from services.api import quotas
from services.contract.access import TenantRecord
from tests.services.api_stand import Api, assert_problem, good_photos, open_api
from tests.services.service_stand import make_record, wait_for
from tests.services.tenant_stand import Tenants, open_tenants, tenants

__all__ = ["tenants"]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember what is said of tenants for a moment only."""
    monkeypatch.setattr(quotas, "FRESH_S", 0.2)


def opened(settings: Settings, **changes: Any) -> Any:
    return open_tenants(settings.model_copy(update=changes))


def submit(client: httpx.Client, count: int = 1, **headers: str) -> httpx.Response:
    return client.post("/v1/reconstructions", files=[("images", each) for each in good_photos(count)], headers=headers)


def test_jobs_beyond_the_quota_are_refused_until_one_ends(settings: Settings) -> None:
    with opened(settings, max_tenant_jobs=2) as limited:
        first, second = (submit(limited.first).json()["id"] for _ in range(2))
        before = limited.api.stored("captures/")
        refused = submit(limited.first)
        problem = assert_problem(refused, 429, "quota_exceeded")
        assert (problem["retryable"], refused.headers["retry-after"]) == (True, "10")
        assert limited.api.stored("captures/") == before
        assert submit(limited.second).status_code == 202
        limited.api.claim(first)
        assert submit(limited.first).status_code == 429  # one runs, one waits
        assert limited.first.post(f"/v1/jobs/{second}/cancel").status_code == 202
        assert submit(limited.first).status_code == 202


def test_every_way_to_a_job_is_counted(settings: Settings) -> None:
    with opened(settings, max_tenant_jobs=1) as limited:
        canceled = submit(limited.first).json()["id"]
        limited.first.post(f"/v1/jobs/{canceled}/cancel")
        capture = limited.first.post("/v1/captures").json()["id"]
        name, data = good_photos(1)[0]
        limited.first.put(f"/v1/captures/{capture}/images/{name}", content=data)
        assert submit(limited.first).status_code == 202
        assert_problem(limited.first.post(f"/v1/jobs/{canceled}/retry"), 429, "quota_exceeded")
        assert_problem(limited.first.post("/v1/reconstructions", json={"capture_id": capture}), 429, "quota_exceeded")


def test_a_request_that_is_repeated_is_answered_as_before(settings: Settings) -> None:
    with opened(settings, max_tenant_jobs=1) as limited:
        keyed = {"Idempotency-Key": "again"}
        job_id = submit(limited.first, **keyed).json()["id"]
        again = submit(limited.first, **keyed)
        assert (again.status_code, again.json()["id"]) == (202, job_id)
        refused = {"Idempotency-Key": "other"}
        assert submit(limited.first, **refused).status_code == 429
        limited.first.post(f"/v1/jobs/{job_id}/cancel")
        assert submit(limited.first, **refused).status_code == 202  # a refusal does not use up its key


def test_jobs_submitted_at_once_are_not_one_too_many(settings: Settings) -> None:
    with opened(settings, max_tenant_jobs=3) as limited, concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: submit(limited.first).status_code, range(16)))
        assert sorted(answers) == [202] * 3 + [429] * 13
        assert limited.api.store.active("first") == 3
        captures = {key.split("/")[1] for key in limited.api.stored("captures/")}
        assert len(captures) == 3  # nothing of the others stays


def test_the_job_store_itself_refuses_one_too_many(tenants: Tenants) -> None:
    store = tenants.api.store
    store.create(make_record(store.settings), max_active=1)
    with pytest.raises(TooManyJobs):
        store.create(make_record(store.settings), max_active=1)
    store.create(make_record(store.settings, tenant="other"), max_active=1)
    store.create(make_record(store.settings))


# Quotas: photographs and bytes


def put(client: httpx.Client, capture: str, count: int, name: str = "") -> httpx.Response:
    file, data = good_photos(count + 1)[count]
    return client.put(f"/v1/captures/{capture}/images/{name or file}", content=data)


def test_photographs_beyond_the_quota_are_refused_before_their_bytes(settings: Settings) -> None:
    with opened(settings, max_tenant_photos=3) as limited:
        capture = limited.first.post("/v1/captures").json()["id"]
        assert [put(limited.first, capture, at).status_code for at in range(4)] == [201, 201, 201, 429]
        assert put(limited.first, capture, 0).status_code == 200  # what is there may be repeated
        refused = submit(limited.first)
        assert_problem(refused, 429, "quota_exceeded")
        assert refused.headers["retry-after"] == "60"
        assert "3 photographs of at most 3" in refused.json()["detail"]
        other = limited.second.post("/v1/captures").json()["id"]
        assert put(limited.second, other, 0).status_code == 201
        assert limited.first.delete(f"/v1/captures/{capture}").status_code == 204
        wait_for(lambda: submit(limited.first, 3).status_code == 202, 5, "room")


def test_one_body_with_too_many_photographs_leaves_nothing(settings: Settings) -> None:
    with opened(settings, max_tenant_photos=2) as limited:
        assert_problem(submit(limited.first, 3), 429, "quota_exceeded")
        assert limited.api.stored("captures/") == []
        assert submit(limited.first, 2).status_code == 202


def test_bytes_of_photographs_and_results_are_counted(settings: Settings) -> None:
    with opened(settings) as limited:
        job_id = submit(limited.first, 2).json()["id"]
        photos = sum(len(data) for _, data in good_photos(2))
        limited.api.finish(job_id, {"scene.ply": bytes(5000)})
        limited.keys.set_tenant(TenantRecord(name="first", max_bytes=photos + 5000))
        time.sleep(0.4)  # then the new limit is known
        detail = assert_problem(submit(limited.first), 429, "quota_exceeded")["detail"]
        assert f"{photos + 5000} bytes of at most {photos + 5000}" in detail
        assert limited.first.delete(f"/v1/jobs/{job_id}").status_code == 204
        wait_for(lambda: submit(limited.first).status_code == 202, 5, "room")


@pytest.fixture
def measured(settings: Settings) -> Iterator[tuple[Api, UsageMeter]]:
    """An API and a meter."""
    with open_api(settings) as opened_api:
        yield opened_api, UsageMeter(opened_api.store)


def test_what_is_kept_is_measured_from_the_records(measured: tuple[Api, UsageMeter]) -> None:
    api, meter = measured
    sizes = [len(data) for _, data in good_photos(3)]
    assert meter.measure("default") == Usage(0, 0)
    job_id = api.new_job(2)["id"]
    capture = api.http.post("/v1/captures").json()["id"]
    assert put(api.http, capture, 2).status_code == 201
    both = Usage(3, sum(sizes))
    assert meter.measure("default") == both
    assert meter.measure("other") == Usage(0, 0)
    for _ in range(2):  # two jobs share the capture's photograph
        assert api.http.post("/v1/reconstructions", json={"capture_id": capture}).status_code == 202
    assert meter.measure("default") == both
    api.finish(job_id, {"scene.ply": bytes(1000)})
    assert meter.measure("default") == Usage(3, sum(sizes) + 1000)
    api.http.delete(f"/v1/jobs/{job_id}")
    assert meter.measure("default") == Usage(1, sizes[2])
    assert UsageMeter(api.store).measure("default") == Usage(1, sizes[2])  # what it remembers changes nothing


def test_jobs_that_have_not_changed_are_not_read_again(measured: tuple[Api, UsageMeter], monkeypatch: pytest.MonkeyPatch) -> None:
    from services.adapters import usage

    api, meter = measured
    for _ in range(3):
        api.new_job(1)
    weighed: list[str] = []
    weigh = usage._weigh
    monkeypatch.setattr(usage, "_weigh", lambda document: (weighed.append(document), weigh(document))[1])
    meter.measure("default")
    assert len(weighed) == 3
    meter.measure("default")
    assert len(weighed) == 3


# Room on the disk


def test_low_disk_refuses_new_captures_and_photographs_before_results(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_api(settings.model_copy(update={"min_free_disk_bytes": 10**6})) as opened_api:
        capture = opened_api.http.post("/v1/captures").json()["id"]
        job_id = opened_api.new_job()["id"]
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr("services.adapters.directory.shutil.disk_usage", lambda _: usage._replace(free=1_500_000))
        assert_problem(opened_api.http.post("/v1/captures"), 507, "insufficient_storage")
        problem = assert_problem(put(opened_api.http, capture, 0), 507, "insufficient_storage")
        assert problem["retryable"]
        assert_problem(opened_api.submit(*good_photos(2)), 507, "insufficient_storage")
        opened_api.finish(job_id)  # what was accepted is still finished: half of the reserve is for it
        assert opened_api.job(job_id)["status"] == "succeeded"
        monkeypatch.setattr("services.adapters.directory.shutil.disk_usage", lambda _: usage)
        assert put(opened_api.http, capture, 0).status_code == 201


def test_a_photograph_that_would_not_fit_is_refused_by_its_length(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_api(settings.model_copy(update={"min_free_disk_bytes": 10**6})) as opened_api:
        capture = opened_api.http.post("/v1/captures").json()["id"]
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr("services.adapters.directory.shutil.disk_usage", lambda _: usage._replace(free=2_000_500))
        assert_problem(put(opened_api.http, capture, 0), 507, "insufficient_storage")
