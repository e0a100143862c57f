"""Captures over HTTP: photographs one by one, every step repeatable, then a job of them; what is left over goes."""

from __future__ import annotations

import base64
import hashlib
import http.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from services.adapters.capture_reaping import sweep_captures
from services.adapters.capture_store import CaptureStore
from services.adapters.objects import StorageUnavailable
from services.adapters.settings import Settings
from services.contract.ids import new_id
from services.contract.jobs import ImageInput
from services.contract.keys import capture_image
from tests.services.api_stand import Api, api, assert_problem, open_api
from tests.services.bad_files import photo
from tests.services.conftest import make_settings
from tests.services.service_stand import make_record, wait_for

__all__ = ["api"]

OLD = "cap_01890000-0000-7000-8000-000000000001"  # made in 2023


@pytest.fixture
def small(settings: Settings) -> Iterator[Api]:
    """An API that takes 3 photographs of at most 20 kB, and 30 kB in all."""
    limits = {"max_photos": 3, "max_photo_bytes": 20_000, "max_capture_bytes": 30_000}
    with open_api(settings.model_copy(update=limits)) as opened:
        yield opened


@pytest.fixture
def hasty(settings: Settings) -> Iterator[Api]:
    """An API whose captures expire after 1.8 s."""
    with open_api(settings.model_copy(update={"capture_expiry_h": 0.0005})) as opened:
        yield opened


def new_capture(api: Api) -> str:
    """Make a capture; gives its id."""
    answer = api.http.post("/v1/captures")
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def put(api: Api, capture: str, name: str, data: bytes, **headers: str) -> httpx.Response:
    """Put a photograph."""
    return api.http.put(f"/v1/captures/{capture}/images/{name}", content=data, headers=headers)


def submit(api: Api, capture: str, **wishes: Any) -> httpx.Response:
    """Make a job of a capture."""
    headers = wishes.pop("headers", {})
    return api.http.post("/v1/reconstructions", json={"capture_id": capture, **wishes}, headers=headers)


def filled(api: Api, count: int = 2) -> str:
    """A capture with photographs."""
    capture = new_capture(api)
    for n in range(count):
        assert put(api, capture, f"photo_{n}.jpg", photo(n)).status_code == 201
    return capture


def digest(data: bytes, name: str = "sha-256") -> str:
    """A `Content-Digest`."""
    return f"{name}=:{base64.b64encode(hashlib.new(name.replace('-', ''), data).digest()).decode()}:"


def end(api: Api, job_id: str) -> None:
    """Cancel a queued job."""
    assert api.http.post(f"/v1/jobs/{job_id}/cancel").status_code == 202


def test_from_an_empty_capture_to_a_job(api: Api) -> None:
    created = api.http.post("/v1/captures")
    capture = created.json()
    assert created.headers["location"] == capture["links"]["self"] == f"{api.url}/v1/captures/{capture['id']}"
    assert capture["limits"] == {
        "max_photos": 200,
        "max_photo_bytes": 50_000_000,
        "max_capture_bytes": 4_000_000_000,
        "max_photo_pixels": 60_000_000,
    }
    assert (capture["images"], capture["frozen"], capture["jobs"]) == ([], False, [])
    for n in (1, 0):  # in any order
        answer = put(api, capture["id"], f"photo_{n}.jpg", photo(n), **{"Content-Digest": digest(photo(n))})
        assert answer.status_code == 201, answer.text
        assert answer.json()["sha256"] == hashlib.sha256(photo(n)).hexdigest()
    seen = api.http.get(f"/v1/captures/{capture['id']}").json()
    assert [image["name"] for image in seen["images"]] == ["photo_0.jpg", "photo_1.jpg"]
    assert seen["bytes"] == len(photo(0)) + len(photo(1))
    wishes = {"preset": "fast", "options": {"seed": 3}, "outputs": ["mesh.ply"], "labels": {"site": "north"}, "deadline_s": 600}
    answer = submit(api, capture["id"], **wishes)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == job["links"]["self"]
    assert {name: job[name] for name in ("preset", "options", "outputs", "labels")} == {
        name: wishes[name] for name in ("preset", "options", "outputs", "labels")
    }
    record = api.record(job["id"])
    assert (record.capture_id, record.owns_capture, record.deadline_at is not None) == (capture["id"], False, True)
    assert [image.name for image in record.images] == ["photo_0.jpg", "photo_1.jpg"]
    for n, image in enumerate(record.images):
        assert api.objects.read(capture_image(capture["id"], image.name)) == photo(n)
    seen = api.http.get(f"/v1/captures/{capture['id']}").json()
    assert (seen["frozen"], seen["jobs"]) == (True, [job["id"]])


def test_a_photograph_may_be_sent_again_but_not_changed(api: Api) -> None:
    capture = new_capture(api)
    first = put(api, capture, "a.jpg", photo(0))
    again = put(api, capture, "a.jpg", photo(0))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert_problem(put(api, capture, "a.jpg", photo(1)), 409, "name_taken")
    assert api.objects.read(capture_image(capture, "a.jpg")) == photo(0)
    assert api.http.get(f"/v1/captures/{capture}").json()["bytes"] == len(photo(0))


@pytest.mark.parametrize(
    "header", [digest(photo(1)), digest(photo(1), "sha-512"), f"{digest(photo(0))}, {digest(b'', 'sha-512')}"]
)
def test_other_bytes_than_the_digest_says_are_refused(api: Api, header: str) -> None:
    capture = new_capture(api)
    problem = assert_problem(put(api, capture, "a.jpg", photo(0), **{"Content-Digest": header}), 422, "digest_mismatch")
    assert (problem["retryable"], problem["errors"][0]["pointer"]) == (True, "/header/content-digest")
    assert api.http.get(f"/v1/captures/{capture}").json()["images"] == []
    assert put(api, capture, "a.jpg", photo(1)).status_code == 201


@pytest.mark.parametrize("header", ["sha-256=abc", "sha-256=:a:", "sha-256:abc:", ","])
def test_a_digest_that_cannot_be_read_is_refused(api: Api, header: str) -> None:
    assert_problem(put(api, new_capture(api), "a.jpg", photo(0), **{"Content-Digest": header}), 400, "invalid_request")


@pytest.mark.parametrize("header", [digest(photo(0), "sha-512"), f"unixsum=:AAAA:, {digest(photo(0))}", "md5=:AAAA:"])
def test_right_and_unknown_digests_pass(api: Api, header: str) -> None:
    assert put(api, new_capture(api), "a.jpg", photo(0), **{"Content-Digest": header}).status_code == 201


@pytest.mark.parametrize("data", [b"", b"no photograph", photo(0)[:400]])
def test_what_is_no_photograph_is_refused(api: Api, data: bytes) -> None:
    capture = new_capture(api)
    problem = assert_problem(put(api, capture, "a.jpg", data), 422, "invalid_image")
    assert problem["errors"][0]["pointer"] == "/a.jpg"
    assert api.stored(f"captures/{capture}/") == [f"captures/{capture}/capture.json"]


@pytest.mark.parametrize("name", [".hidden.jpg", "a%5Cb.jpg", "a%00.jpg", "x" * 300, "..%5C..%5Cb.jpg"])
def test_a_name_that_would_have_to_be_changed_is_refused(api: Api, name: str) -> None:
    problem = assert_problem(put(api, new_capture(api), name, photo(0)), 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "/path/name"


def test_limits_hold_before_the_bytes(small: Api) -> None:
    capture = filled(small, 1)
    connection = http.client.HTTPConnection(small.url.removeprefix("http://"), timeout=10)
    connection.putrequest("PUT", f"/v1/captures/{capture}/images/big.jpg")
    connection.putheader("Content-Length", "20001")
    connection.putheader("Expect", "100-continue")
    connection.endheaders()  # and not one byte
    answer = connection.getresponse()
    assert (answer.status, b'"too_large"' in answer.read()) == (413, True)
    connection.close()


def test_limits_hold_without_a_declared_length(small: Api) -> None:
    capture = new_capture(small)
    chunks = (chunk for chunk in [photo(0), b"\0" * 20_000])
    answer = small.http.put(f"/v1/captures/{capture}/images/a.jpg", content=chunks)
    assert_problem(answer, 413, "too_large")
    assert small.http.get(f"/v1/captures/{capture}").json()["images"] == []


def test_limits_of_the_whole_capture(settings: Settings) -> None:
    room = len(photo(0)) + len(photo(1)) + len(photo(2)) - 1
    with open_api(settings.model_copy(update={"max_capture_bytes": room})) as api:
        capture = filled(api, 2)
        assert_problem(put(api, capture, "photo_2.jpg", photo(2)), 413, "too_large")
        chunks = (chunk for chunk in [photo(2)])  # no declared length
        answer = api.http.put(f"/v1/captures/{capture}/images/photo_2.jpg", content=chunks)
        assert_problem(answer, 413, "too_large")
        assert put(api, capture, "photo_1.jpg", photo(1)).status_code == 200
        assert api.http.get(f"/v1/captures/{capture}").json()["bytes"] == len(photo(0)) + len(photo(1))
        assert len(api.stored(f"captures/{capture}/images/")) == 2


def test_many_at_once_do_not_go_beyond_the_limit(small: Api) -> None:
    capture = new_capture(small)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: put(small, capture, f"{n}.jpg", photo(n)), range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 201, 422, 422, 422]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 422} == {"too_many_images"}
    assert len(small.stored(f"captures/{capture}/images/")) == 3


def test_many_under_one_name_are_one(api: Api) -> None:
    capture = new_capture(api)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: put(api, capture, "a.jpg", photo(n % 2)), range(6)))
    kept = api.objects.read(capture_image(capture, "a.jpg"))
    for n, answer in enumerate(answers):
        assert answer.status_code in ((200, 201) if photo(n % 2) == kept else (409,))
    image = api.http.get(f"/v1/captures/{capture}").json()["images"][0]
    assert (image["sha256"], image["bytes"]) == (hashlib.sha256(kept).hexdigest(), len(kept))


def test_a_frozen_capture_takes_no_more(api: Api) -> None:
    capture = filled(api)
    first = submit(api, capture).json()
    assert_problem(put(api, capture, "new.jpg", photo(9)), 409, "capture_frozen")
    assert put(api, capture, "photo_0.jpg", photo(0)).status_code == 200
    assert_problem(put(api, capture, "photo_0.jpg", photo(9)), 409, "name_taken")
    second = submit(api, capture, preset="accurate").json()
    assert second["id"] != first["id"]
    assert api.record(second["id"]).images == api.record(first["id"]).images
    assert api.http.get(f"/v1/captures/{capture}").json()["jobs"] == sorted([first["id"], second["id"]])


@pytest.mark.parametrize(
    ("wishes", "pointer"),
    [
        ({"preset": "best"}, "/preset"),
        ({"options": {"sed": 1}}, "/options/sed"),
        ({"options": {"pairs": [[0, 2]]}}, "/options/pairs/0"),
        ({"outputs": ["movie.mp4"]}, "/outputs/0"),
        ({"labels": {"a=b": "c"}}, "/labels"),
        ({"deadline_s": -1}, "/deadline_s"),
        ({"surprise": 1}, "/surprise"),
        ({"strict_images": "yes"}, "/strict_images"),
    ],
)
def test_a_refused_job_does_not_freeze_its_capture(api: Api, wishes: dict[str, Any], pointer: str) -> None:
    capture = filled(api)
    answer = submit(api, capture, **wishes)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert put(api, capture, "new.jpg", photo(9)).status_code == 201


def test_bodies_that_are_no_submission(api: Api) -> None:
    headers = {"Content-Type": "application/json"}
    assert_problem(api.http.post("/v1/reconstructions", content=b"{", headers=headers), 400, "invalid_request")
    assert_problem(api.http.post("/v1/reconstructions", content=b"[]", headers=headers), 422, "invalid_request")
    assert_problem(submit(api, "cap_1"), 422, "invalid_request")
    assert_problem(submit(api, new_id("cap")), 404, "not_found")
    assert_problem(submit(api, new_capture(api)), 422, "too_few_images")


def test_a_repeated_submission_makes_one_job(api: Api) -> None:
    capture = filled(api)
    answers = [submit(api, capture, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert (answers[0].status_code, answers[0].content) == (202, answers[1].content)
    assert_problem(submit(api, capture, preset="fast", headers={"Idempotency-Key": "k"}), 422, "idempotency_key_reused")
    end(api, answers[0].json()["id"])
    assert api.http.delete(f"/v1/captures/{capture}").status_code == 204
    assert submit(api, capture, headers={"Idempotency-Key": "k"}).content == answers[0].content  # also when it is gone


def test_a_submission_whose_answer_was_lost_is_answered_when_its_capture_is_gone(api: Api) -> None:
    capture = filled(api)
    first = submit(api, capture, headers={"Idempotency-Key": "k"}).json()
    (entry,) = api.store.redis.scan_iter(f"{api.store.prefix}idempotency:*")
    api.store.redis.hdel(entry, "answer")  # killed between the job and its answer
    api.store.redis.hset(entry, "lease", 0)
    end(api, first["id"])
    assert api.http.delete(f"/v1/captures/{capture}").status_code == 204
    again = submit(api, capture, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["id"], again.headers["idempotent-replayed"]) == (202, first["id"], "true")


def test_another_tenant_s_capture_is_404_everywhere(api: Api) -> None:
    capture = CaptureStore(api.store, api.objects).create("other").record.id
    assert_problem(api.http.get(f"/v1/captures/{capture}"), 404, "not_found")
    assert_problem(put(api, capture, "a.jpg", photo(0)), 404, "not_found")
    assert_problem(api.http.delete(f"/v1/captures/{capture}"), 404, "not_found")
    assert_problem(submit(api, capture), 404, "not_found")
    for missing in (new_id("cap"), "cap_1", "job_1"):
        assert_problem(api.http.get(f"/v1/captures/{missing}"), 404, "not_found")


def test_deletion_waits_for_the_jobs_that_need_it(api: Api) -> None:
    capture = filled(api)
    canceled, done = submit(api, capture).json()["id"], submit(api, capture).json()["id"]
    assert assert_problem(api.http.delete(f"/v1/captures/{capture}"), 409, "conflict")["retryable"] is True
    end(api, canceled)
    assert_problem(api.http.delete(f"/v1/captures/{capture}"), 409, "conflict")
    api.finish(done)
    assert api.http.delete(f"/v1/captures/{capture}").status_code == 204
    assert api.stored("captures/") == []
    assert_problem(api.http.get(f"/v1/captures/{capture}"), 410, "gone")
    assert_problem(api.http.delete(f"/v1/captures/{capture}"), 410, "gone")
    assert_problem(put(api, capture, "a.jpg", photo(0)), 410, "gone")
    assert_problem(submit(api, capture), 410, "gone")
    assert_problem(api.http.post(f"/v1/jobs/{canceled}/retry"), 409, "conflict")
    assert api.http.get(f"/v1/jobs/{done}/artifacts/scene.ply").status_code == 200  # results stay


def test_a_capture_outlives_its_jobs(api: Api) -> None:
    capture = filled(api)
    job_id = submit(api, capture).json()["id"]
    end(api, job_id)
    again = api.http.post(f"/v1/jobs/{job_id}/retry").json()["id"]
    end(api, again)
    for each in (job_id, again):
        assert api.http.delete(f"/v1/jobs/{each}").status_code == 204
    assert api.http.get(f"/v1/captures/{capture}").json()["jobs"] == []
    assert submit(api, capture).status_code == 202


def test_a_stale_capture_goes_and_one_that_a_job_has_stays(hasty: Api) -> None:
    stale, used = filled(hasty, 1), filled(hasty, 1)
    job_id = submit(hasty, used).json()["id"]
    wait_for(lambda: hasty.stored(f"captures/{stale}/") == [], what="the end of the stale capture")
    assert_problem(hasty.http.get(f"/v1/captures/{stale}"), 410, "gone")
    wait_for(lambda: hasty.store.redis.zcard(hasty.store.prefix + "captures") == 0, what="a look at the other one")
    assert hasty.http.get(f"/v1/captures/{used}").status_code == 200
    assert hasty.objects.read(capture_image(used, "photo_0.jpg")) == photo(0)
    end(hasty, job_id)
    assert hasty.http.delete(f"/v1/jobs/{job_id}").status_code == 204
    wait_for(lambda: hasty.stored(f"captures/{used}/") == [], what="the end of the capture after its last job")


def test_leftovers_of_a_killed_api_are_swept(api: Api) -> None:
    """Photographs without a job or a capture that knows them: old ones go, young ones may be an upload that goes on."""
    young, used = new_id("cap"), OLD.replace("0001", "0002")
    kept = filled(api, 1)
    for capture in (OLD, young, used):
        api.objects.put(capture_image(capture, "a.jpg"), photo(0))
    api.store.create(make_record(api.settings, capture_id=used))
    assert sweep_captures(api.store, api.objects, api.settings) == 1
    assert {key.split("/")[1] for key in api.stored("captures/")} == {young, used, kept}


def test_the_reaper_sweeps(settings: Settings) -> None:
    with open_api(settings) as early:
        early.objects.put(capture_image(OLD, "a.jpg"), photo(0))
        early.store.redis.delete(early.store.prefix + "swept")
        wait_for(lambda: early.stored("captures/") == [], what="the sweep")


def test_an_empty_redis_is_made_up_for_from_the_object_store(api: Api) -> None:
    open_one, frozen = filled(api, 2), filled(api, 1)
    submit(api, frozen)
    before = api.http.get(f"/v1/captures/{open_one}").json()
    for key in api.store.redis.scan_iter(f"{api.store.prefix}capture*"):
        api.store.redis.delete(key)
    assert api.http.get(f"/v1/captures/{open_one}").json() == before
    assert put(api, open_one, "photo_0.jpg", photo(0)).status_code == 200
    assert_problem(put(api, open_one, "photo_0.jpg", photo(5)), 409, "name_taken")
    assert_problem(put(api, frozen, "new.jpg", photo(5)), 409, "capture_frozen")
    api.store.redis.delete(f"{api.store.prefix}capture:{open_one}")
    assert sweep_captures(api.store, api.objects, api.settings) == 0
    assert api.store.redis.zscore(api.store.prefix + "captures", open_one) is not None  # its end is known again


def test_a_photograph_that_redis_lost_is_still_part_of_the_job(api: Api) -> None:
    """Its 201 was sent; the append-only file loses up to a second."""
    capture = filled(api, 3)
    api.store.redis.hdel(f"{api.store.prefix}capture:{capture}:images", "photo_1.jpg")
    record = api.record(submit(api, capture).json()["id"])
    assert [image.name for image in record.images] == ["photo_0.jpg", "photo_1.jpg", "photo_2.jpg"]


def test_an_upload_that_broke_off_leaves_nothing(api: Api) -> None:
    capture = new_capture(api)
    connection = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=10)
    connection.putrequest("PUT", f"/v1/captures/{capture}/images/a.jpg")
    connection.putheader("Content-Length", str(len(photo(0))))
    connection.endheaders(photo(0)[:300])
    connection.close()
    assert put(api, capture, "a.jpg", photo(1)).status_code == 201  # the name was not taken


def test_a_store_that_fails_in_the_middle_takes_nothing(api: Api) -> None:
    captures = CaptureStore(api.store, api.objects)
    capture = new_capture(api)

    def fail(key: str) -> None:
        raise StorageUnavailable(key)

    sums = {"sha256": "0" * 64, "media_type": "image/jpeg", "width": 64, "height": 48}
    with pytest.raises(StorageUnavailable):
        captures.add(capture, ImageInput(name="a.jpg", bytes=10, **sums), fail)
    state = captures.get(capture)
    assert state is not None
    assert (state.images, state.pending, state.bytes) == ([], frozenset(), 0)
    assert put(api, capture, "a.jpg", photo(1)).status_code == 201


def test_a_photograph_on_its_way_when_the_job_is_made_is_no_part_of_it(api: Api) -> None:
    capture = filled(api, 1)
    made: list[httpx.Response] = []
    captures = CaptureStore(api.store, api.objects)
    image = ImageInput(name="late.jpg", bytes=5, sha256="0" * 64, media_type="image/jpeg", width=64, height=48)

    def store(key: str) -> None:
        api.objects.put(key, b"bytes")
        made.append(submit(api, capture))

    with pytest.raises(Exception, match="frozen"):
        captures.add(capture, image, store)
    assert [each.name for each in api.record(made[0].json()["id"]).images] == ["photo_0.jpg"]
    assert not [key for key in api.stored(f"captures/{capture}/") if "late" in key]


def test_captures_over_s3(s3_server: dict[str, Any], redis_server: Any, tmp_path: Any) -> None:
    with open_api(make_settings(redis_server.url, tmp_path, **s3_server)) as api:
        capture = filled(api, 2)
        assert put(api, capture, "photo_0.jpg", photo(0)).status_code == 200
        job_id = submit(api, capture).json()["id"]
        assert api.objects.read(capture_image(capture, "photo_1.jpg")) == photo(1)
        end(api, job_id)
        assert api.http.delete(f"/v1/captures/{capture}").status_code == 204
        assert api.stored(f"captures/{capture}/") == []
