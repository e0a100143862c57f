"""NodeODM's protocol in the hands of clients that do not keep to it: every refusal has the error form, tenants stay apart."""

from __future__ import annotations

import json
import random
import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from services.adapters.capture_store import CaptureStore
from services.adapters.directory import DirectoryStore
from services.adapters.key_store import KeyStore
from services.adapters.objects import StorageUnavailable, open_store
from services.contract.ids import is_id
from services.nodeodm.console_lines import cut_lines
from services.nodeodm.option_table import TABLE, read_options
from services.nodeodm.task_document import capture_id_of
from tests.services.api_stand import good_photos
from tests.services.conftest import make_settings
from tests.services.nodeodm_stand import NodeOdm, open_nodeodm
from tests.services.service_stand import wait_for

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def nodeodm(redis_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeOdm]:
    with open_nodeodm(make_settings(redis_server.url, tmp_path_factory.mktemp("nodeodm"))) as opened:
        yield opened


def begin(http: httpx.Client, **query: str) -> str:
    return str(http.post("/task/new/init", files={"name": (None, "x")}, params=query).json()["uuid"])


def send(http: httpx.Client, task: str, *photos: tuple[str, bytes], **query: str) -> httpx.Response:
    return http.post(f"/task/new/upload/{task}", files=[("images", each) for each in photos], params=query)


def assert_error(answer: httpx.Response, *statuses: int) -> str:
    assert answer.status_code in (statuses or (200,)), answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) <= {"error", "success"}, body
    assert body.get("success") in (None, False)
    assert body["error"]
    return str(body["error"])


UNKNOWN = "5b0e8f3c-1d2a-4c6e-9f70-8a91b2c3d4e5"  # the same in every process that collects the tests
ABUSE: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/nowhere", {}),
    ("GET", "/task", {}),
    ("PUT", "/info", {}),
    ("DELETE", "/task/list", {}),
    ("POST", "/auth/login", {"json": {"username": "a", "password": "b"}}),
    ("GET", f"/task/{UNKNOWN}/info", {}),
    ("GET", f"/task/{UNKNOWN}/info?with_output=many", {}),
    ("GET", f"/task/{UNKNOWN}/output?line=99999999999999999999", {}),
    ("GET", "/task/%00/info", {}),
    ("GET", "/task/..%2f..%2fetc/output", {}),
    ("GET", f"/task/{UNKNOWN}/download/all.zip", {}),
    ("GET", f"/task/{UNKNOWN}/download/../../job.json", {}),
    ("POST", "/task/cancel", {}),
    ("POST", "/task/cancel", {"json": {"uuid": UNKNOWN}}),
    ("POST", "/task/cancel", {"json": {"uuid": ["a", {"b": 1}]}}),
    ("POST", "/task/remove", {"data": {"uuid": UNKNOWN}}),
    ("POST", "/task/restart", {"content": b"{", "headers": {"content-type": "application/json"}}),
    ("POST", "/task/restart", {"content": b"[1]", "headers": {"content-type": "application/json"}}),
    ("POST", "/task/restart", {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}),
    ("POST", "/task/restart", {"content": b"uuid=%ff%fe\xff"}),
    ("POST", "/task/remove", {"content": b"a=1&" * 500}),
    ("POST", "/task/cancel", {"content": b"x" * (1 << 20) + b"x"}),
    ("POST", "/task/new", {}),
    ("POST", "/task/new", {"data": {"options": "[]"}}),
    ("POST", "/task/new", {"files": {"name": (None, "no images")}}),
    ("POST", "/task/new", {"files": {"other": ("a.jpg", b"1")}}),
    ("POST", "/task/new", {"files": {"zipurl": (None, "http://127.0.0.1/a.zip")}}),
    ("POST", "/task/new", {"content": b"--x", "headers": {"content-type": "multipart/form-data; boundary=y"}}),
    ("POST", "/task/new", {"content": b"", "headers": {"content-type": "multipart/form-data"}}),
    ("POST", "/task/new/init", {"files": {"images": ("a.jpg", b"1")}}),
    ("POST", "/task/new/init", {"data": {"options": "{"}}),
    ("POST", "/task/new/init", {"data": {"options": '{"name": "dsm"}'}}),
    ("POST", "/task/new/init", {"data": {"options": '[{"value": 1}]'}}),
    ("POST", "/task/new/init", {"data": {"options": '[{"name": "pc-filter", "value": [1]}]'}}),
    ("POST", "/task/new/init", {"data": {"options": '[{"name": "pc-filter", "value": 1e999}]'}}),
    ("POST", "/task/new/init", {"data": {"outputs": "orthophoto"}}),
    ("POST", "/task/new/init", {"data": {"webhook": "file:///etc/passwd"}}),
    ("POST", "/task/new/init", {"headers": {"set-uuid": "1234"}}),
    ("POST", f"/task/new/upload/{UNKNOWN}", {"files": {"images": ("a.jpg", b"1")}}),
    ("POST", f"/task/new/commit/{UNKNOWN}", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), ABUSE, ids=[f"{n}-{m} {p[:40]}" for n, (m, p, _) in enumerate(ABUSE)])
def test_abuse_is_refused_in_the_error_form(nodeodm: NodeOdm, method: str, path: str, body: dict[str, Any]) -> None:
    answer = nodeodm.http.request(method, path, **body)
    assert_error(answer, 200, 404, 405)
    assert answer.headers["x-request-id"].startswith("req_")


def test_requests_made_at_random_are_answered_in_the_form(nodeodm: NodeOdm) -> None:
    draw = random.Random(7)
    task = begin(nodeodm.http)
    words = ["task", "new", "init", "upload", "commit", "info", "output", "list", "cancel", "remove", "restart", "download", task]
    words += [UNKNOWN, "all.zip", "%2e%2e", "%00", "\u00fc", "-1", "options", "auth", "info%3Ftoken=x", "a" * 3000]
    kinds = [
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "multipart/form-data",
        "x/y",
    ]
    bodies = [b"", b"{}", b'{"uuid": 1}', b"uuid=" + task.encode(), b"--b\r\n\r\n", b"--b--\r\n", b"\xff" * 50, b'{"a":' * 5000]
    bodies += [b'--b\r\nContent-Disposition: form-data; name="images"; filename="\xff/..\x00"\r\n\r\nx\r\n--b--\r\n']
    for _ in range(400):
        path = "/" + "/".join(draw.choice(words) for _ in range(draw.randint(0, 4)))
        query = draw.choice(["", "?token=\u00e9", "?line=x", "?with_output=1&with_output=2", "?token=a&token=b"])
        answer = nodeodm.http.request(
            draw.choice(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"]),
            path + query,
            content=draw.choice(bodies),
            headers={
                "Content-Type": draw.choice(kinds),
                "set-uuid": draw.choice(["", "x", str(uuid.UUID(int=draw.getrandbits(128)))]),
            },
        )
        assert answer.status_code < 500, (path, answer.text)
        if answer.status_code >= 400 and answer.request.method != "HEAD":
            assert_error(answer, answer.status_code)


def test_uploads_that_are_wrong_leave_the_task_as_it_was(nodeodm: NodeOdm) -> None:
    http = nodeodm.http
    task = begin(http)
    first, second = good_photos(2)
    assert_error(http.post(f"/task/new/upload/{task}", files={"name": (None, "x")}))
    assert_error(http.post(f"/task/new/upload/{task}", json={}))
    assert_error(http.post(f"/task/new/upload/{task}", files={"pictures": first}))
    assert_error(send(http, task, ("..", first[1])))
    assert "not found" in assert_error(http.get(f"/task/{task}/info"))  # it is not committed
    assert "no photograph" in assert_error(http.post(f"/task/new/commit/{task}"))
    assert send(http, task, first, second).json() == {"success": True}
    assert send(http, task, first).json() == {"success": True}  # the same again
    assert "other bytes" in assert_error(send(http, task, (first[0], second[1])))
    for _ in range(2):  # an answer may get lost
        assert http.post(f"/task/new/commit/{task}").json() == {"uuid": task}
    assert http.get(f"/task/{task}/info").json()["imagesCount"] == 2
    assert "no more photographs" in assert_error(send(http, task, ("late.jpg", first[1])))
    assert "no asset" in assert_error(http.get(f"/task/{task}/download/all.zip"))
    jobs = [record for record in nodeodm.api.store.list("default")[0] if record.labels["nodeodm"] == task]
    assert len(jobs) == 1


def test_a_task_whose_job_was_deleted_over_the_api_can_still_be_removed(nodeodm: NodeOdm) -> None:
    task = begin(nodeodm.http)
    send(nodeodm.http, task, *good_photos(2))
    nodeodm.http.post(f"/task/new/commit/{task}")
    record = next(each for each in nodeodm.api.store.list("default")[0] if each.labels["nodeodm"] == task)
    assert nodeodm.api.http.delete(f"/v1/jobs/{record.id}").status_code == 204
    assert "not found" in assert_error(nodeodm.http.get(f"/task/{task}/info"))
    assert nodeodm.http.post("/task/remove", data={"uuid": task}).json() == {"success": True}
    assert "not found" in assert_error(nodeodm.http.post("/task/remove", data={"uuid": task}))


def test_head_and_options_are_answered(nodeodm: NodeOdm) -> None:
    assert nodeodm.http.head("/info").status_code == 200
    allowed = nodeodm.http.options("/task/cancel")
    assert (allowed.status_code, allowed.headers["allow"]) == (204, "OPTIONS, POST")


def test_a_body_cut_off_leaves_nothing(nodeodm: NodeOdm) -> None:
    before = nodeodm.api.stored("captures/")
    with socket.create_connection(("127.0.0.1", nodeodm.port)) as sock:
        sock.sendall(
            b"POST /task/new HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 9999\r\n\r\n"
        )
        sock.sendall(b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n\xff\xd8')
    assert nodeodm.http.get("/info").status_code == 200
    wait_for(lambda: nodeodm.api.stored("captures/") == before, what="the capture's removal")


def test_limits_of_the_service_are_limits_here(redis_server: Any, tmp_path: Path) -> None:
    with open_nodeodm(
        make_settings(redis_server.url, tmp_path, max_photos=2, max_photo_bytes=5_000, max_tenant_jobs=1)
    ) as opened:
        assert opened.http.get("/info").json()["maxImages"] == 2
        task = begin(opened.http)
        assert "5000 bytes" in assert_error(send(opened.http, task, ("a.jpg", b"\xff\xd8" + b"0" * 6_000)))
        photos = good_photos(3)
        assert send(opened.http, task, *photos[:2]).json() == {"success": True}
        assert "limit" in assert_error(send(opened.http, task, photos[2]))
        assert opened.http.post(f"/task/new/commit/{task}").json() == {"uuid": task}
        second = begin(opened.http)
        send(opened.http, second, photos[0])
        too_many = opened.http.post(f"/task/new/commit/{second}")
        assert "1 jobs of this tenant" in assert_error(too_many, 429)
        assert too_many.headers["retry-after"]


def test_tenants_see_their_own_tasks_alone(redis_server: Any, tmp_path: Path) -> None:
    settings = make_settings(redis_server.url, tmp_path)
    store = KeyStore(open_store(settings))
    north, _ = store.create("north", ["read", "write"])
    reader, _ = store.create("north", ["read"])
    south, _ = store.create("south", ["read", "write"])
    expired, _ = store.create("north", ["read"], expires_at=datetime.now(UTC) - timedelta(seconds=1))
    with open_nodeodm(settings) as opened:
        http = opened.http
        task = begin(http, token=north)
        send(http, task, *good_photos(2), token=north)
        assert "not found" in assert_error(send(http, task, *good_photos(1), token=south))
        assert http.post(f"/task/new/commit/{task}", params={"token": north}).json() == {"uuid": task}
        for path in (f"/task/{task}/info", f"/task/{task}/output", f"/task/{task}/download/all.zip"):
            assert "not found" in assert_error(http.get(path, params={"token": south}))
        for command in ("cancel", "restart", "remove"):
            assert "not found" in assert_error(http.post(f"/task/{command}", data={"uuid": task}, params={"token": south}))
            assert "'write'" in assert_error(http.post(f"/task/{command}", data={"uuid": task}, params={"token": reader}), 403)
        assert http.get("/task/list", params={"token": south}).json() == []
        assert http.get("/info", params={"token": south}).json()["taskQueueCount"] == 0
        assert http.get("/task/list", params={"token": reader}).json() == [{"uuid": task}]
        assert http.get("/info", params={"token": north}).json()["taskQueueCount"] == 1
        assert "expired" in assert_error(http.get("/info", params={"token": expired}), 401)
        # The same UUID is another task to another tenant.
        chosen = http.post("/task/new/init", headers={"set-uuid": task}, params={"token": south})
        assert chosen.json() == {"uuid": task}
        assert "not found" in assert_error(http.get(f"/task/{task}/info", params={"token": south}))


def test_a_store_that_is_away_is_told_with_a_status(nodeodm: NodeOdm, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise StorageUnavailable("away")

    task = begin(nodeodm.http)
    monkeypatch.setattr(DirectoryStore, "put", away)
    assert_error(nodeodm.http.post("/task/new/init"), 503)
    answer = send(nodeodm.http, task, *good_photos(1))
    assert_error(answer, 503)
    assert answer.headers["retry-after"]


def test_errors_that_nobody_thought_of_have_the_form_too(nodeodm: NodeOdm, monkeypatch: pytest.MonkeyPatch) -> None:
    def surprise(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    def gone(*_: object, **__: object) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(CaptureStore, "get", surprise)
    assert "logged under request id req_" in assert_error(nodeodm.http.get(f"/task/{UNKNOWN}/info"), 500)
    monkeypatch.setattr(CaptureStore, "get", gone)
    assert_error(nodeodm.http.get(f"/task/{UNKNOWN}/info"), 503)


def test_a_uuid_means_another_capture_to_another_tenant() -> None:
    ids = {capture_id_of(tenant, task) for tenant in ("north", "south") for task in (UNKNOWN, str(uuid.uuid1()))}
    assert len(ids) == 4
    assert all(is_id("cap", each) for each in ids)
    assert capture_id_of("north", UNKNOWN) == capture_id_of("north", UNKNOWN)


def test_every_default_is_a_value_that_is_taken() -> None:
    for option in TABLE:
        given = json.dumps([{"name": option.name, "value": option.value}])
        assert read_options(given)[0].value == option.value


@pytest.mark.parametrize(("first", "expected"), [(0, [0, 1, 2]), (1, [1, 2]), (5, []), (-1, [2]), (-9, [0, 1, 2])])
def test_lines_are_counted_from_either_end(first: int, expected: list[int]) -> None:
    assert cut_lines([str(n) for n in range(3)], first) == [str(n) for n in expected]
