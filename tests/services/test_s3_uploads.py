"""Direct uploads over a real S3 server: presigned, verified, repeatable; nothing wrong becomes part of a capture."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.adapters.embedded import EmbeddedRedis
from services.adapters.upload_reaping import reap_uploads, sweep_uploads
from services.adapters.upload_store import OPEN_AT_MOST
from services.contract.keys import capture_image, upload_file, upload_prefix
from tests.services.api_stand import Api, api, assert_problem, open_api
from tests.services.bad_files import photo, text_as_photo, truncated
from tests.services.conftest import make_settings
from tests.services.test_api_captures import new_capture, put, submit

__all__ = ["api"]

LIMITS = {"max_photos": 4, "max_photo_bytes": 20_000, "max_capture_bytes": 30_000}


@pytest.fixture
def direct(redis_server: EmbeddedRedis, s3_server: dict[str, Any], tmp_path: Path) -> Iterator[Api]:
    """An API over S3 with small limits."""
    store = {**s3_server, "store": f"{s3_server['store']}/{tmp_path.name}"}
    with open_api(make_settings(redis_server.url, tmp_path, **store, **LIMITS)) as opened:
        yield opened


def announced(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def begin(api: Api, capture: str, files: dict[str, bytes]) -> httpx.Response:
    body = {"files": [announced(name, data) for name, data in files.items()]}
    return api.http.post(f"/v1/captures/{capture}/uploads", json=body)


def begun(api: Api, capture: str, files: dict[str, bytes]) -> dict[str, Any]:
    answer = begin(api, capture, files)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def send(target: dict[str, Any], data: bytes) -> int:
    return httpx.put(target["url"], content=data, headers=target["headers"], timeout=30).status_code


def complete(api: Api, upload: dict[str, Any]) -> httpx.Response:
    return api.http.post(upload["links"]["complete"])


def names(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [image["name"] for image in answer.json()["images"]]


def test_photographs_go_past_the_api_and_become_a_job(direct: Api) -> None:
    files = {"ä b+c.jpg": photo(0), "b.png": photo(1, "PNG")}
    capture = new_capture(direct)
    assert direct.http.get(f"/v1/captures/{capture}").json()["links"]["uploads"] == f"{direct.url}/v1/captures/{capture}/uploads"
    upload = begun(direct, capture, files)
    assert [target["name"] for target in upload["files"]] == list(files)
    for target in upload["files"]:
        assert send(target, files[target["name"]]) == 200
    assert direct.http.get(f"/v1/captures/{capture}").json()["images"] == [], "nobody has looked at them yet"
    done = complete(direct, upload)
    assert names(done) == ["b.png", "ä b+c.jpg"]
    for name, data in files.items():
        assert direct.objects.read(capture_image(capture, name)) == data
    assert done.json()["images"][0]["media_type"] == "image/png"
    assert complete(direct, upload).content == done.content, "a client that heard no answer asks again"
    assert put(direct, capture, "b.png", files["b.png"]).status_code == 200
    assert submit(direct, capture).status_code == 202
    assert direct.objects.stat(upload_file(capture, upload["id"], 0)) is None
    assert names(complete(direct, upload)) == ["b.png", "ä b+c.jpg"], "also after a job was made of it"


def test_clients_that_complete_at_the_same_time_are_all_answered(direct: Api) -> None:
    files = {f"{n}.jpg": photo(n) for n in range(4)}
    capture = new_capture(direct)
    upload = begun(direct, capture, files)
    for target in upload["files"]:
        assert send(target, files[target["name"]]) == 200
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: complete(direct, upload), range(6)))
    assert [names(answer) for answer in answers] == [sorted(files)] * 6
    assert direct.http.get(f"/v1/captures/{capture}").json()["bytes"] == sum(map(len, files.values()))
    assert all(direct.objects.read(capture_image(capture, name)) == data for name, data in files.items())


def test_the_store_itself_refuses_other_bytes_and_other_sizes(direct: Api) -> None:
    data = photo(0)
    capture = new_capture(direct)
    upload = begun(direct, capture, {"a.jpg": data})
    (target,) = upload["files"]
    assert send(target, data + b"x") == 403
    assert send(target, data[:-1] + b"x") == 400
    assert httpx.put(target["url"], content=data).status_code == 403, "the sum is part of the signature"
    assert httpx.get(target["url"]).status_code == 403
    problem = assert_problem(complete(direct, upload), 409, "upload_incomplete")
    assert problem["retryable"]
    assert problem["errors"][0]["pointer"] == "/files/0"
    assert send(target, data) == 200
    assert send(target, data) == 200, "an answer that was lost"
    assert names(complete(direct, upload)) == ["a.jpg"]


def test_what_a_store_that_checks_nothing_let_pass_is_found(direct: Api) -> None:
    """Written past the URL, as on a server that ignores checksum and length."""
    good = photo(0)
    files = {"good.jpg": good, "other.jpg": photo(1), "longer.jpg": photo(2), "empty.jpg": photo(3)}
    capture = new_capture(direct)
    upload = begun(direct, capture, files)
    arrived = [good, photo(9), photo(2) + b"x" * 30_000, b""]
    for place, data in enumerate(arrived):
        direct.objects.put(upload_file(capture, upload["id"], place), data)
    problem = assert_problem(complete(direct, upload), 422, "digest_mismatch")
    assert [error["pointer"] for error in problem["errors"]] == ["/files/1", "/files/2", "/files/3"]
    left = [entry.key for entry in direct.objects.list(upload_prefix(capture, upload["id"]) + "files/")]
    assert left == [], "wrong bytes are removed, and what was taken is"
    assert [image["name"] for image in direct.http.get(f"/v1/captures/{capture}").json()["images"]] == ["good.jpg"]


@pytest.mark.parametrize("data", [text_as_photo(), truncated(photo(0)), photo(1, "GIF")], ids=["text", "truncated", "gif"])
def test_what_is_no_photograph_is_refused_and_removed(direct: Api, data: bytes) -> None:
    capture = new_capture(direct)
    upload = begun(direct, capture, {"a.jpg": data})
    assert send(upload["files"][0], data) == 200
    problem = assert_problem(complete(direct, upload), 422, "invalid_image")
    assert problem["errors"][0]["pointer"] == "/files/0"
    assert direct.objects.stat(upload_file(capture, upload["id"], 0)) is None
    assert direct.objects.stat(capture_image(capture, "a.jpg")) is None


def test_limits_are_told_before_a_url_is_given(direct: Api) -> None:
    capture = new_capture(direct)
    ok, big = photo(0), b"x" * 20_001
    assert_problem(begin(direct, capture, {"big.jpg": big}), 413, "too_large")
    assert_problem(begin(direct, capture, {"a.jpg": b"x" * 15_001, "b.jpg": b"y" * 15_000}), 413, "too_large")
    assert_problem(begin(direct, capture, {f"{n}.jpg": ok for n in range(5)}), 422, "too_many_images")
    assert_problem(begin(direct, capture, {"../a.jpg": ok}), 422, "invalid_request")
    assert_problem(begin(direct, capture, {}), 422, "invalid_request")
    twice = {"files": [announced("a.jpg", ok)] * 2}
    assert_problem(direct.http.post(f"/v1/captures/{capture}/uploads", json=twice), 422, "duplicate_name")
    for wrong in ({"sha256": "x"}, {"bytes": 0}, {"bytes": "9"}, {"more": 1}):
        body = {"files": [{**announced("a.jpg", ok), **wrong}]}
        assert_problem(direct.http.post(f"/v1/captures/{capture}/uploads", json=body), 422, "invalid_request")
    assert_problem(direct.http.post(f"/v1/captures/{capture}/uploads", content=b"{"), 400, "invalid_request")
    assert put(direct, capture, "a.jpg", ok).status_code == 201
    assert_problem(begin(direct, capture, {"a.jpg": photo(1)}), 409, "name_taken")
    assert begun(direct, capture, {"a.jpg": ok})["files"] == [], "the capture has it"
    assert submit(direct, capture).status_code == 202
    assert_problem(begin(direct, capture, {"b.jpg": ok}), 409, "capture_frozen")


def test_what_changed_meanwhile_is_told_when_it_is_completed(direct: Api) -> None:
    capture = new_capture(direct)
    upload = begun(direct, capture, {"a.jpg": photo(0)})
    assert send(upload["files"][0], photo(0)) == 200
    assert put(direct, capture, "a.jpg", photo(1)).status_code == 201
    assert_problem(complete(direct, upload), 409, "name_taken")
    assert direct.objects.read(capture_image(capture, "a.jpg")) == photo(1)
    assert direct.http.delete(f"/v1/captures/{capture}").status_code == 204
    assert_problem(complete(direct, upload), 410, "gone")
    assert_problem(direct.http.post(f"/v1/captures/{new_capture(direct)}/uploads/{upload['id']}/complete"), 404, "not_found")


def test_open_uploads_of_a_capture_are_bounded(direct: Api) -> None:
    capture = new_capture(direct)
    first = begun(direct, capture, {"a.jpg": photo(0)})
    for _ in range(OPEN_AT_MOST - 1):
        begun(direct, capture, {"b.jpg": photo(1)})
    assert_problem(begin(direct, capture, {"b.jpg": photo(1)}), 409, "too_many_uploads")
    assert send(first["files"][0], photo(0)) == 200
    assert names(complete(direct, first)) == ["a.jpg"]
    begun(direct, capture, {"b.jpg": photo(1)})


def test_abandoned_uploads_are_removed_also_those_that_redis_forgot(direct: Api) -> None:
    capture = new_capture(direct)
    kept, abandoned = begun(direct, capture, {"a.jpg": photo(0)}), begun(direct, capture, {"b.jpg": photo(1)})
    assert send(abandoned["files"][0], photo(1)) == 200
    index = direct.store.prefix + "uploads"
    direct.store.redis.zadd(index, {f"{capture}/{abandoned['id']}": 1})
    assert reap_uploads(direct.store, direct.objects) == 1
    assert list(direct.objects.list(upload_prefix(capture, abandoned["id"]))) == []
    assert_problem(complete(direct, abandoned), 404, "not_found")
    direct.store.redis.delete(index)
    sweep_uploads(direct.store, direct.objects)
    (member, until) = direct.store.redis.zrange(index, 0, -1, withscores=True)[0]
    assert member == f"{capture}/{kept['id']}"
    assert abs(until / 1000 - time.time() - 2 * direct.settings.upload_expiry_s) < 60


def test_urls_expire(redis_server: EmbeddedRedis, s3_server: dict[str, Any], tmp_path: Path) -> None:
    store = {**s3_server, "store": f"{s3_server['store']}/{tmp_path.name}", "upload_expiry_s": 1.0}
    with open_api(make_settings(redis_server.url, tmp_path, **store)) as short:
        upload = begun(short, new_capture(short), {"a.jpg": photo(0)})
        time.sleep(2.1)
        assert send(upload["files"][0], photo(0)) == 403


def test_a_directory_store_says_to_use_put(api: Api) -> None:
    capture = new_capture(api)
    problem = assert_problem(begin(api, capture, {"a.jpg": photo(0)}), 409, "direct_upload_unavailable")
    assert f"PUT /v1/captures/{capture}/images/NAME" in problem["detail"]
    assert "uploads" not in api.http.get(f"/v1/captures/{capture}").json()["links"]
    assert list(api.objects.list(f"captures/{capture}/uploads/")) == []
