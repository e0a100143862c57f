"""`Idempotency-Key` over HTTP: one request, sent any number of times, is done once and answered the same."""

from __future__ import annotations

import http.client
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from services.adapters.settings import Settings
from tests.services.api_stand import Api, api, assert_problem, good_photos, open_api
from tests.services.bad_files import photo
from tests.services.service_stand import wait_for

__all__ = ["api"]

LEASE_S = 1.0


@pytest.fixture
def hasty(settings: Settings) -> Iterator[Api]:
    """An API whose tries count as dead after a second."""
    with open_api(settings.model_copy(update={"idempotency_lease_s": LEASE_S})) as opened:
        yield opened


def send(
    api: Api, key: str, photos: list[tuple[str, bytes]], headers: dict[str, str] | None = None, **fields: str
) -> httpx.Response:
    """Submit photographs under a key."""
    files = [("images", each) for each in photos]
    return api.http.post("/v1/reconstructions", files=files, data=fields, headers={"Idempotency-Key": key, **(headers or {})})


def job_ids(api: Api) -> list[str]:
    """Every job there is."""
    return [job["id"] for job in api.http.get("/v1/jobs").json()["items"]]


def begin_upload(api: Api, key: str) -> http.client.HTTPConnection:
    """Send the head and the beginning of a submission, and stop."""
    connection = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=20)
    connection.putrequest("POST", "/v1/reconstructions")
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", "100000")
    connection.putheader("Idempotency-Key", key)
    connection.endheaders(b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n' + photo(0)[:500])
    return connection


def entries(api: Api) -> list[dict[str, str]]:
    """The kept entries."""
    redis = api.store.redis
    return [redis.hgetall(key) for key in redis.scan_iter(f"{api.store.prefix}idempotency:*")]


def test_the_same_request_is_answered_as_the_first_time(api: Api) -> None:
    key = str(uuid.uuid4())
    first = send(api, key, good_photos(2), preset="fast")
    assert first.status_code == 202, first.text
    assert "idempotent-replayed" not in first.headers
    captures = api.stored("captures/")
    # The boundary is another one and the order too; both say the same.
    again = send(api, key, good_photos(2)[::-1], preset="fast")
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.content) == (202, first.content)
    for name in ("location", "etag", "retry-after", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert job_ids(api) == [first.json()["id"]]
    assert api.stored("captures/") == captures  # the second upload left nothing


def test_an_entry_is_kept_for_a_day(api: Api) -> None:
    send(api, "k", good_photos(1))
    (key,) = api.store.redis.scan_iter(f"{api.store.prefix}idempotency:*")
    assert 23.9 * 3600 < api.store.redis.ttl(key) <= 24 * 3600
    assert ":default:" in key  # each tenant has keys of its own


@pytest.mark.parametrize(
    "other",
    [
        {"photos": good_photos(3)},
        {"photos": [("photo_0.jpg", photo(0)), ("photo_1.jpg", photo(7))]},
        {"photos": [("photo_0.jpg", photo(0)), ("renamed.jpg", photo(1))]},
        {"preset": "accurate"},
        {"options": '{"seed": 1}'},
        {"outputs": "mesh.ply"},
        {"labels": '{"site": "south"}'},
        {"strict_images": "true"},
    ],
)
def test_another_request_under_the_key_is_refused(api: Api, other: dict[str, object]) -> None:
    first = send(api, "k", good_photos(2))
    photos = other.pop("photos", good_photos(2))
    assert_problem(send(api, "k", photos, **other), 422, "idempotency_key_reused")  # type: ignore[arg-type]
    assert job_ids(api) == [first.json()["id"]]


def test_the_order_counts_where_pairs_number_the_photographs(api: Api) -> None:
    pairs = '{"pairs": [[0, 1], [1, 2]]}'
    assert send(api, "k", good_photos(3), options=pairs).status_code == 202
    assert send(api, "k", good_photos(3), options=pairs).headers["idempotent-replayed"] == "true"
    assert_problem(send(api, "k", good_photos(3)[::-1], options=pairs), 422, "idempotency_key_reused")


def test_an_archive_is_known_again(api: Api) -> None:
    from tests.services.bad_files import make_zip

    archive = make_zip(dict([*good_photos(2), ("bad.jpg", b"no photograph")]))
    files = {"archive": ("photos.zip", archive)}
    answers = [api.http.post("/v1/reconstructions", files=files, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].content == answers[1].content
    other = make_zip(dict([*good_photos(2), ("bad.jpg", b"nor is this")]))
    refused = api.http.post("/v1/reconstructions", files={"archive": ("photos.zip", other)}, headers={"Idempotency-Key": "k"})
    assert_problem(refused, 422, "idempotency_key_reused")


def test_a_refused_request_does_not_use_up_its_key(api: Api) -> None:
    assert_problem(send(api, "k", [("a.jpg", b"no photograph")]), 422, "invalid_image")
    assert entries(api) == []
    assert send(api, "k", good_photos(2)).status_code == 202


def test_without_a_key_two_requests_are_two_jobs(api: Api) -> None:
    assert api.new_job()["id"] != api.new_job()["id"]
    assert entries(api) == []


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "ä"])
def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    files = [("images", each) for each in good_photos(1)]
    answer = api.http.post("/v1/reconstructions", files=files, headers=[(b"Idempotency-Key", key.encode())])
    assert assert_problem(answer, 422, "invalid_request")["errors"][0]["pointer"] == "/header/idempotency-key"


def test_a_second_try_while_the_first_is_at_work_is_told_to_wait(api: Api) -> None:
    connection = begin_upload(api, "k")
    wait_for(lambda: entries(api), what="the first try")
    problem = send(api, "k", good_photos(2))
    assert assert_problem(problem, 409, "request_in_flight")["retryable"] is True
    assert 1 <= int(problem.headers["retry-after"]) <= 5
    assert send(api, "another", good_photos(2)).status_code == 202
    connection.close()  # the client gives up: its key is free at once
    wait_for(lambda: len(entries(api)) == 1, what="the end of the first try")
    assert send(api, "k", good_photos(2)).status_code == 202


def test_a_slow_upload_keeps_its_key(hasty: Api) -> None:
    connection = begin_upload(hasty, "k")
    wait_for(lambda: entries(hasty), what="the first try")
    time.sleep(1.5 * LEASE_S)
    assert_problem(send(hasty, "k", good_photos(2)), 409, "request_in_flight")
    connection.close()


def test_a_try_that_died_does_not_block_its_key(hasty: Api) -> None:
    """What a killed API leaves: an owner that is never heard again."""
    connection = begin_upload(hasty, "k")
    wait_for(lambda: entries(hasty), what="the first try")
    (key,) = hasty.store.redis.scan_iter(f"{hasty.store.prefix}idempotency:*")
    hasty.store.redis.hset(key, "owner", "dead")  # its renewals, and what it would write, are not heard any more
    job_id = hasty.store.redis.hget(key, "job")
    assert_problem(send(hasty, "k", good_photos(2)), 409, "request_in_flight")
    deadline = time.monotonic() + 10
    while (answer := send(hasty, "k", good_photos(2))).status_code == 409 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer.status_code == 202
    assert answer.json()["id"] == job_id
    connection.close()


def test_a_job_of_a_try_that_died_is_found_and_not_made_again(api: Api) -> None:
    first = send(api, "k", good_photos(2))
    (key,) = api.store.redis.scan_iter(f"{api.store.prefix}idempotency:*")
    api.store.redis.hdel(key, "answer")  # killed between the job and its answer
    api.store.redis.hset(key, "lease", 0)
    assert_problem(send(api, "k", good_photos(3)), 422, "idempotency_key_reused")
    again = send(api, "k", good_photos(2))
    assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
    assert again.json() == first.json()
    assert job_ids(api) == [first.json()["id"]]
    assert {name.split("/")[1] for name in api.stored("captures/")} == {first.json()["capture_id"]}


def test_many_at_once_make_one_job(api: Api) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: send(api, "k", good_photos(2)), range(6)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert len(job_ids(api)) == 1


def test_the_awaited_answer_is_the_one_that_is_kept(api: Api) -> None:
    prefer = {"Prefer": "wait=20"}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(send, api, "k", good_photos(2), prefer)
        wait_for(lambda: any("answer" in entry for entry in entries(api)), what="the accepted job")
        (job_id,) = job_ids(api)
        early = send(api, "k", good_photos(2))  # the job is accepted: nobody need wait for the first try's end
        assert (early.status_code, early.json()["id"]) == (202, job_id)
        threading.Thread(target=api.finish, args=[job_id]).start()
        first = waiting.result()
    assert first.status_code == 200
    again = send(api, "k", good_photos(2), prefer)
    assert (again.status_code, again.content) == (200, first.content)
