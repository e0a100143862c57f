"""Jobs over HTTP: submission, status, long poll, listing, cancellation, deletion. The worker is played by the test."""

from __future__ import annotations

import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from services.contract.ids import is_id
from tests.services import bad_files
from tests.services.api_stand import Api, api, assert_problem, good_photos
from tests.services.service_stand import wait_for

__all__ = ["api"]


def test_a_submission_is_accepted_with_everything_kept(api: Api) -> None:
    answer = api.submit(
        *good_photos(3),
        options='{"matching": {"subsample": 4}}',
        preset="fast",
        outputs="scene.ply,poses.json",
        labels='{"site": "north"}',
    )
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert is_id("job", job["id"])
    assert is_id("cap", job["capture_id"])
    assert answer.headers["location"] == f"{api.url}/v1/jobs/{job['id']}" == job["links"]["self"]
    assert int(answer.headers["retry-after"]) > 0
    assert (job["status"], job["terminal"], job["queue"], job["preset"]) == ("queued", False, {"position": 0}, "fast")
    assert (job["outputs"], job["labels"]) == (["scene.ply", "poses.json"], {"site": "north"})
    record = api.record(job["id"])
    assert record.options == {"matching": {"subsample": 4}}
    assert [image.name for image in record.images] == ["photo_0.jpg", "photo_1.jpg", "photo_2.jpg"]
    for image, (_, data) in zip(record.images, good_photos(3), strict=True):
        assert api.objects.read(f"captures/{job['capture_id']}/images/{image.name}") == data
    assert f"jobs/{job['id']}/job.json" in api.stored("jobs/")  # durable before the answer
    assert api.store.redis.zscore(api.store.prefix + "sent", job["id"]) is not None  # and in the queue


def test_the_simplest_curl_works(api: Api, tmp_path: Path) -> None:
    for name, data in good_photos(2):
        (tmp_path / name).write_bytes(data)
    command = ["curl", "-sS", "-F", "images=@photo_0.jpg", "-F", "images=@photo_1.jpg", f"{api.url}/v1/reconstructions"]
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True)
    except FileNotFoundError:
        pytest.skip("curl is not installed")
    assert '"status":"queued"' in done.stdout


def test_options_may_be_sent_as_a_file(api: Api) -> None:
    files = [*[("images", each) for each in good_photos(2)], ("options", ("options.json", b'{"seed": 3}'))]
    answer = api.http.post("/v1/reconstructions", files=files)
    assert answer.status_code == 202, answer.text
    assert answer.json()["options"] == {"seed": 3}


def test_prefer_wait_answers_200_when_the_job_ends_in_time(api: Api) -> None:
    def work() -> None:
        job_id = wait_for(lambda: api.store.redis.zrange(api.store.prefix + "queued", 0, 0), what="a queued job")[0]
        api.finish(job_id)

    worker = threading.Thread(target=work)
    worker.start()
    files = [("images", each) for each in good_photos(2)]
    answer = api.http.post("/v1/reconstructions", files=files, headers={"Prefer": "respond-async, wait=20"})
    worker.join()
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=20"
    assert answer.json()["status"] == "succeeded"


def test_prefer_wait_answers_202_when_it_does_not(api: Api) -> None:
    started = time.monotonic()
    files = [("images", each) for each in good_photos(2)]
    answer = api.http.post("/v1/reconstructions", files=files, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    assert time.monotonic() - started >= 1
    assert answer.json()["status"] == "queued"


def test_a_job_shows_its_way(api: Api) -> None:
    first, second = api.new_job()["id"], api.new_job()["id"]
    assert api.job(second)["queue"] == {"position": 1}
    token = api.claim(first)
    assert api.job(second)["queue"] == {"position": 0}
    api.progress(first, token, 0.25)
    job = api.job(first)
    assert (job["status"], job["stage"], job["progress"]["fraction"], job["queue"]) == ("running", "encode", 0.25, None)
    assert token not in str(job)  # the fencing token is no client's business
    assert "tests:1" not in str(job)
    api.commit(first, token, {"scene.ply": b"ply"})
    job = api.job(first)
    assert (job["status"], job["terminal"], job["stage"]) == ("succeeded", True, None)
    assert job["scale"] == {"metric": True, "source": "network"}
    assert job["attempts"][0]["outcome"] == "succeeded"


def test_etag_and_304(api: Api) -> None:
    job_id = api.new_job()["id"]
    first = api.http.get(f"/v1/jobs/{job_id}")
    assert first.headers["cache-control"] == "no-store"
    again = api.http.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    api.claim(job_id)
    changed = api.http.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


def test_a_long_poll_ends_with_the_change(api: Api) -> None:
    job_id = api.new_job()["id"]
    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        waiting = pool.submit(api.http.get, f"/v1/jobs/{job_id}?wait=20")
        time.sleep(0.4)
        assert not waiting.done()
        api.claim(job_id)
        answer = waiting.result()
    assert answer.json()["status"] == "running"
    assert time.monotonic() - started < 3


def test_a_long_poll_with_a_tag_sees_progress(api: Api) -> None:
    job_id = api.new_job()["id"]
    token = api.claim(job_id)
    tag = api.http.get(f"/v1/jobs/{job_id}").headers["etag"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api.http.get, f"/v1/jobs/{job_id}?wait=20", headers={"If-None-Match": tag})
        time.sleep(0.3)
        started = time.monotonic()
        api.progress(job_id, token, 0.5)
        assert waiting.result().json()["progress"]["fraction"] == 0.5
    assert time.monotonic() - started < 2


def test_a_long_poll_without_news_ends_in_time(api: Api) -> None:
    job_id = api.new_job()["id"]
    tag = api.http.get(f"/v1/jobs/{job_id}").headers["etag"]
    started = time.monotonic()
    assert api.http.get(f"/v1/jobs/{job_id}?wait=0.5").json()["status"] == "queued"
    assert api.http.get(f"/v1/jobs/{job_id}?wait=0.5", headers={"If-None-Match": tag}).status_code == 304
    assert 1.0 <= time.monotonic() - started < 3


def test_a_long_poll_of_an_ended_job_answers_at_once(api: Api) -> None:
    job_id = api.new_job()["id"]
    api.finish(job_id)
    started = time.monotonic()
    assert api.http.get(f"/v1/jobs/{job_id}?wait=20").json()["terminal"]
    assert time.monotonic() - started < 1


def test_24_clients_wait_at_once_and_others_are_served(api: Api) -> None:
    jobs = [api.new_job(1)["id"] for _ in range(3)]
    before = len(api.store.redis.client_list())
    limits = httpx.Limits(max_connections=30)
    with httpx.Client(base_url=api.url, timeout=30, limits=limits) as http, ThreadPoolExecutor(24) as pool:
        waiting = [pool.submit(http.get, f"/v1/jobs/{jobs[n % 3]}?wait=20") for n in range(24)]
        wait_for(lambda: "m3r_job_watchers 24.0" in api.http.get("/metrics").text, what="24 watchers")
        connections = len(api.store.redis.client_list()) - before
        assert api.http.get("/healthz/ready").status_code == 200
        for job_id in jobs:
            api.claim(job_id)
        assert {each.result().json()["status"] for each in waiting} == {"running"}
    assert connections < 17  # waiting costs no connection each


def test_wait_has_a_limit(api: Api) -> None:
    problem = assert_problem(api.http.get(f"/v1/jobs/{api.new_job()['id']}?wait=61"), 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "/query/wait"


def test_listing_by_page_status_and_label(api: Api) -> None:
    jobs = [api.new_job(1, labels=f'{{"n": "{n}", "all": "x"}}')["id"] for n in range(5)]
    first = api.http.get("/v1/jobs?limit=2").json()
    assert [job["id"] for job in first["items"]] == [jobs[4], jobs[3]]
    second = api.http.get("/v1/jobs", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [job["id"] for job in second["items"]] == [jobs[2], jobs[1]]
    third = api.http.get("/v1/jobs", params={"limit": 2, "cursor": second["next_cursor"]}).json()
    assert [job["id"] for job in third["items"]] == [jobs[0]]
    assert third["next_cursor"] is None
    api.claim(jobs[1])
    assert [job["id"] for job in api.http.get("/v1/jobs?status=running").json()["items"]] == [jobs[1]]
    assert [job["id"] for job in api.http.get("/v1/jobs?label=n=3").json()["items"]] == [jobs[3]]
    assert len(api.http.get("/v1/jobs?label=all").json()["items"]) == 5
    assert api.http.get("/v1/jobs?label=n=9").json() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "status=done", "cursor=1", "label="])
def test_wrong_listing_queries(api: Api, query: str) -> None:
    problem = assert_problem(api.http.get(f"/v1/jobs?{query}"), 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "/query/" + query.partition("=")[0]


def test_cancel_a_queued_job(api: Api) -> None:
    job_id = api.new_job()["id"]
    answer = api.http.post(f"/v1/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "canceled")
    assert '"canceled"' in api.objects.read(f"jobs/{job_id}/job.json").decode()
    assert_problem(api.http.post(f"/v1/jobs/{job_id}/cancel"), 409, "conflict")
    assert api.store.claim(job_id, "tests:1") is None


def test_cancel_a_running_job(api: Api) -> None:
    job_id = api.new_job()["id"]
    token = api.claim(job_id)
    for _ in range(2):  # asking again changes nothing
        answer = api.http.post(f"/v1/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (202, "canceling")
    assert api.store.heartbeat(job_id, token) == "canceling"
    assert api.store.finish_canceled(job_id, token)
    assert api.job(job_id)["status"] == "canceled"


def test_cancel_a_finished_job(api: Api) -> None:
    job_id = api.new_job()["id"]
    api.finish(job_id)
    assert "succeeded" in assert_problem(api.http.post(f"/v1/jobs/{job_id}/cancel"), 409, "conflict")["detail"]


def test_delete_a_finished_job(api: Api) -> None:
    job = api.new_job()
    api.finish(job["id"])
    assert api.http.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert api.stored("captures/") == []
    assert api.stored("jobs/") == [f"jobs/{job['id']}/job.json"]  # the tombstone
    for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/artifacts")]:
        assert_problem(api.http.request(method, f"/v1/jobs/{job['id']}{path}"), 410, "gone")
    assert_problem(api.http.get(f"/v1/jobs/{job['id']}/artifacts/scene.ply"), 410, "gone")
    assert api.http.get("/v1/jobs").json()["items"] == []


def test_delete_a_queued_job(api: Api) -> None:
    job_id = api.new_job()["id"]
    assert api.http.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert_problem(api.http.get(f"/v1/jobs/{job_id}"), 410, "gone")
    assert api.store.claim(job_id, "tests:1") is None


def test_a_running_job_is_not_deleted(api: Api) -> None:
    job_id = api.new_job()["id"]
    token = api.claim(job_id)
    problem = assert_problem(api.http.delete(f"/v1/jobs/{job_id}"), 409, "conflict")
    assert problem["retryable"]
    assert f"/v1/jobs/{job_id}/cancel" in problem["detail"]
    api.commit(job_id, token, {"scene.ply": b"ply"})
    assert api.http.delete(f"/v1/jobs/{job_id}").status_code == 204


NEVER_MADE = "01a203a4-6ad8-7f81-ab5f-f4f9e93d09fa"


@pytest.mark.parametrize("job_id", ["job_1", "x", f"job_{NEVER_MADE}", f"cap_{NEVER_MADE}", "..%2f..%2fetc", "%00"])
def test_unknown_jobs(api: Api, job_id: str) -> None:
    for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/artifacts")]:
        assert_problem(api.http.request(method, f"/v1/jobs/{job_id}{path}"), 404, "not_found")


def test_a_job_that_redis_has_lost_is_read_from_its_durable_copy(api: Api) -> None:
    job_id = api.new_job()["id"]
    api.store.redis.delete(f"{api.store.prefix}job:{job_id}")
    job = api.job(job_id)
    assert (job["id"], job["status"]) == (job_id, "queued")


def test_photos_keep_their_order_though_several_are_stored_at_a_time(api: Api) -> None:
    photos = [(f"{n}.jpg", bad_files.photo(n, size=(16 + 16 * (n % 3), 16))) for n in range(20)]
    answer = api.submit(*photos)
    assert [image.name for image in api.record(answer.json()["id"]).images] == [name for name, _ in photos]


def test_photos_of_one_name_in_two_jobs_do_not_meet(api: Api) -> None:
    first = api.submit(("a.jpg", bad_files.photo(1))).json()
    second = api.submit(("a.jpg", bad_files.photo(2))).json()
    assert api.objects.read(f"captures/{first['capture_id']}/images/a.jpg") == bad_files.photo(1)
    assert api.objects.read(f"captures/{second['capture_id']}/images/a.jpg") == bad_files.photo(2)
