"""What holds on every route: problem documents, request ids, methods, keys, cross-origin rules, links, logs, failing stores."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.adapters.async_job_store import AsyncJobStore
from services.adapters.directory import DirectoryStore
from services.adapters.embedded import EmbeddedRedis
from services.adapters.objects import StorageUnavailable
from services.adapters.settings import Settings
from services.api.auth import OpenBindError, check_bind
from tests.services.api_stand import Api, api, assert_problem, good_photos, open_api
from tests.services.conftest import make_settings

__all__ = ["api"]

KEY = "m3r_0123456789abcdef"


@pytest.mark.parametrize("path", ["/v1", "/v1/nothing", "/v1/jobs/", "/v1/reconstructions/x", "/V1/info", "/healthz"])
def test_unknown_paths(api: Api, path: str) -> None:
    problem = assert_problem(api.http.get(path), 404, "not_found")
    assert problem["instance"] == path
    assert problem["type"] == "urn:m3r:problem:not_found"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/reconstructions", "OPTIONS, POST"),
        ("POST", "/v1/jobs", "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/jobs/job_1", "DELETE, GET, HEAD, OPTIONS"),
        ("DELETE", "/v1/info", "GET, HEAD, OPTIONS"),
        ("TRACE", "/v1/info", "GET, HEAD, OPTIONS"),
    ],
)
def test_methods_that_are_not_allowed(api: Api, method: str, path: str, allow: str) -> None:
    answer = api.http.request(method, path)
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow
    options = api.http.options(path)
    assert (options.status_code, options.headers["allow"]) == (204, allow)


def test_options_of_an_unknown_path(api: Api) -> None:
    assert_problem(api.http.options("/v1/nothing"), 404, "not_found")


@pytest.mark.parametrize("path", ["/v1/info", "/v1/jobs", "/v1/options", "/healthz/live", "/metrics"])
def test_head_is_get_without_a_body(api: Api, path: str) -> None:
    get, head = api.http.get(path), api.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    missing = api.http.head("/v1/nothing")
    assert (missing.status_code, missing.content) == (404, b"")


def test_head_of_an_event_stream_ends(api: Api) -> None:
    answer = api.http.head(f"/v1/jobs/{api.new_job()['id']}/events", timeout=5)
    assert (answer.status_code, answer.content) == (200, b"")


def test_request_ids_are_kept_or_made(api: Api) -> None:
    assert api.http.get("/v1/info", headers={"X-Request-Id": "mine-1.2:3"}).headers["x-request-id"] == "mine-1.2:3"
    for bad in ("has space", "x" * 129, "new\tline", ""):
        made = api.http.get("/v1/info", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert re.fullmatch(r"req_[0-9a-f-]{36}", made)


def test_an_error_of_ours_tells_nothing_of_the_inside(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def explode(*_: object) -> None:
        raise RuntimeError("secret detail at /srv/inside")

    monkeypatch.setattr(AsyncJobStore, "counts", explode)
    answer = api.http.get("/v1/system/demand")
    problem = assert_problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert problem["request_id"] in problem["detail"]
    logged = next(record for record in caplog.records if record.name == "services.api.errors")
    assert logged.exc_info is not None
    assert logged.__dict__["request_id"] == problem["request_id"]


def test_logs_are_json_with_the_request_id(api: Api, capfd: pytest.CaptureFixture[str]) -> None:
    job_id = api.new_job()["id"]
    api.http.get(f"/v1/jobs/{job_id}", headers={"X-Request-Id": "find-me"})
    handler = logging.getLogger("services").handlers[0]
    assert handler.formatter is not None
    record = logging.makeLogRecord(
        {"name": "services.api.access", "msg": "request", "request_id": "find-me", "status": 200, "levelname": "INFO"}
    )
    line = json.loads(handler.formatter.format(record))
    assert (line["request_id"], line["status"], line["level"]) == ("find-me", 200, "info")
    assert {"time", "logger", "message"} <= set(line)


@pytest.fixture
def keyed(settings: Settings) -> Iterator[Api]:
    """An API that wants a key."""
    hashes = ("0" * 64, hashlib.sha256(KEY.encode()).hexdigest().upper())
    with open_api(settings.model_copy(update={"api_key_sha256s": hashes})) as opened:
        yield opened


PROTECTED = [
    ("POST", "/v1/reconstructions"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/job_1"),
    ("DELETE", "/v1/jobs/job_1"),
    ("POST", "/v1/jobs/job_1/cancel"),
    ("POST", "/v1/jobs/job_1/retry"),
    ("POST", "/v1/captures"),
    ("GET", "/v1/captures/cap_1"),
    ("DELETE", "/v1/captures/cap_1"),
    ("PUT", "/v1/captures/cap_1/images/scene.ply"),
    ("POST", "/v1/captures/cap_1/uploads"),
    ("POST", "/v1/captures/cap_1/uploads/upl_1/complete"),
    ("PUT", "/v1/captures/cap_1/cameras"),
    ("GET", "/v1/captures/cap_1/cameras"),
    ("DELETE", "/v1/captures/cap_1/cameras"),
    ("PUT", "/v1/captures/cap_1/masks/scene.ply"),
    ("DELETE", "/v1/captures/cap_1/masks/scene.ply"),
    ("PUT", "/v1/captures/cap_1/depths/scene.ply"),
    ("DELETE", "/v1/captures/cap_1/depths/scene.ply"),
    ("GET", "/v1/captures/cap_1/links"),
    ("GET", "/v1/captures/cap_1/images/scene.ply/thumbnail"),
    ("GET", "/v1/jobs/job_1/links"),
    ("GET", "/v1/jobs/job_1/images/scene.ply/thumbnail"),
    ("GET", "/v1/jobs/job_1/events"),
    ("GET", "/v1/jobs/job_1/deliveries"),
    ("POST", "/v1/jobs/job_1/deliveries/evt_1/redeliver"),
    ("GET", "/v1/jobs/job_1/artifacts"),
    ("GET", "/v1/jobs/job_1/artifacts.zip"),
    ("GET", "/v1/jobs/job_1/artifacts/scene.ply"),
    ("POST", "/v1/references"),
    ("GET", "/v1/references"),
    ("GET", "/v1/references/ref_1"),
    ("DELETE", "/v1/references/ref_1"),
    ("POST", "/v1/localize"),
    ("POST", "/v1/maps"),
    ("GET", "/v1/maps"),
    ("GET", "/v1/maps/map_1"),
    ("DELETE", "/v1/maps/map_1"),
    ("POST", "/v1/maps/map_1/localize"),
    ("GET", "/v1/info"),
    ("GET", "/v1/options"),
    ("GET", "/v1/system/demand"),
    ("GET", "/metrics"),
]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_a_key_is_wanted(keyed: Api, method: str, path: str) -> None:
    answer = keyed.http.request(method, path)
    assert_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == 'Bearer realm="m3r"'
    wrong = keyed.http.request(method, path, headers={"Authorization": "Bearer m3r_wrong"})
    assert_problem(wrong, 401, "unauthorized")
    assert 'error="invalid_token"' in wrong.headers["www-authenticate"]
    assert_problem(keyed.http.request(method, path, headers={"Authorization": "Basic " + KEY}), 401, "unauthorized")
    right = keyed.http.request(method, path, headers={"Authorization": f"Bearer {KEY}"})
    assert right.status_code in (200, 201, 404, 415, 422)


def test_a_client_that_is_refused_can_still_read_why(keyed: Api) -> None:
    for content in (bytes(20 << 20), iter([bytes(1 << 20)] * 20)):  # unread bytes would make the kernel reset the connection
        assert_problem(keyed.http.post("/v1/reconstructions", content=content), 401, "unauthorized")


def test_every_route_is_protected_or_known_to_be_open(keyed: Api) -> None:
    document = keyed.http.get("/openapi.json").json()
    operations = {
        (
            m.upper(),
            p.replace("{job_id}", "job_1")
            .replace("{capture_id}", "cap_1")
            .replace("{name}", "scene.ply")
            .replace("{delivery_id}", "evt_1")
            .replace("{upload_id}", "upl_1")
            .replace("{reference_id}", "ref_1")
            .replace("{map_id}", "map_1"),
        )
        for p, ms in document["paths"].items()
        for m in ms
    }
    assert operations - {("GET", "/healthz/live"), ("GET", "/healthz/ready")} == set(PROTECTED)


def test_health_needs_no_key(keyed: Api) -> None:
    assert keyed.http.get("/healthz/live").json() == {"status": "ok", "checks": {}}
    assert keyed.http.get("/healthz/ready").status_code == 200


def test_without_a_key_the_service_stays_on_the_loopback(settings: Settings) -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.8.9.1"):
        check_bind(settings.model_copy(update={"host": host}))
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org", ""):
        beyond = settings.model_copy(update={"host": host})
        with pytest.raises(OpenBindError, match="no API key is set"):
            check_bind(beyond)
        check_bind(beyond.model_copy(update={"api_key_sha256s": ("0" * 64,)}))


@pytest.fixture
def proxied(settings: Settings) -> Iterator[Api]:
    """An API behind a proxy that strips a prefix, for one browser origin."""
    changes = {"cors_origins": ("https://app.example",), "root_path": "/m3r/"}
    with open_api(settings.model_copy(update=changes)) as opened:
        yield opened


def test_links_honour_the_proxy_prefix(proxied: Api) -> None:
    job = proxied.new_job()
    assert job["links"]["self"] == f"{proxied.url}/m3r/v1/jobs/{job['id']}"
    for path in ("/v1/info", "/m3r/v1/info"):  # some proxies strip it, some do not
        assert proxied.http.get(path).status_code == 200
    assert_problem(proxied.http.get("/other/v1/info"), 404, "not_found")


def test_links_honour_the_public_base_url(settings: Settings) -> None:
    with open_api(settings.model_copy(update={"public_base_url": "https://m3r.example/api/"})) as opened:
        job = opened.new_job()
        assert job["links"]["events"] == f"https://m3r.example/api/v1/jobs/{job['id']}/events"
        opened.finish(job["id"], {"a b.ply": b"ply"})
        listed = opened.http.get(f"/v1/jobs/{job['id']}/artifacts").json()
        assert listed[0]["url"] == f"https://m3r.example/api/v1/jobs/{job['id']}/artifacts/a%20b.ply"


def test_cross_origin_requests(proxied: Api, api: Api) -> None:
    origin = {"Origin": "https://app.example"}
    answer = proxied.http.get("/v1/info", headers=origin)
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "ETag" in answer.headers["access-control-expose-headers"]
    refused = proxied.http.get("/v1/nothing", headers=origin)
    assert refused.headers["access-control-allow-origin"] == "https://app.example"  # a browser may read the problem
    ask = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization"}
    preflight = proxied.http.options("/v1/jobs/job_1", headers={**origin, **ask})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "https://app.example")
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    foreign = proxied.http.options("/v1/jobs/job_1", headers={"Origin": "https://evil.example", **ask})
    assert foreign.status_code == 204
    assert "access-control-allow-origin" not in foreign.headers
    assert "access-control-allow-origin" not in api.http.get("/v1/info", headers=origin).headers


def test_redis_away_is_503_and_nothing_is_accepted(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server, open_api(make_settings(server.url, tmp_path)) as opened:
        job_id = opened.new_job()["id"]
        before = opened.stored("captures/")
        server.kill()
        for answer in (
            opened.http.get(f"/v1/jobs/{job_id}"),
            opened.http.get("/v1/jobs"),
            opened.http.get("/healthz/ready"),
            opened.http.get(f"/v1/jobs/{job_id}/events"),
        ):
            assert assert_problem(answer, 503, "storage_unavailable")["retryable"]
        assert opened.http.get("/healthz/live").status_code == 200
        answer = opened.submit(*good_photos(2))
        assert assert_problem(answer, 503, "storage_unavailable")["retryable"]
        assert int(answer.headers["retry-after"]) > 0
        server.start()
        assert opened.job(job_id)["status"] == "queued"
        assert len(opened.http.get("/v1/jobs").json()["items"]) == 1
        assert before == [key for key in opened.stored("captures/") if key in before]


def test_object_store_away_is_503_and_nothing_is_accepted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise StorageUnavailable("http://10.0.0.1:8333 does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(DirectoryStore, "put", refuse)
        answer = api.submit(*good_photos(2))
        problem = assert_problem(answer, 503, "storage_unavailable")
        assert "10.0.0.1" not in str(problem)
        assert problem["retryable"]
    assert api.store.counts()["queued"] == 0
    assert api.stored("captures/") == []
    assert api.submit(*good_photos(2)).status_code == 202


def test_the_durable_copy_fails_and_nothing_is_accepted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    put = DirectoryStore.put

    def refuse_documents(self: DirectoryStore, key: str, *arguments: Any, **options: Any) -> Any:
        if key.startswith("jobs/"):
            raise StorageUnavailable("away")
        return put(self, key, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(DirectoryStore, "put", refuse_documents)
        assert_problem(api.submit(*good_photos(2)), 503, "storage_unavailable")
    assert api.store.counts()["queued"] == 0
    assert api.stored("captures/") == api.stored("jobs/") == []
    assert api.http.get("/v1/jobs").json()["items"] == []


def test_low_disk_is_507_before_the_body_is_read(settings: Settings, tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with open_api(settings.model_copy(update={"min_free_disk_bytes": free * 2})) as opened:
        problem = assert_problem(opened.submit(*good_photos(2)), 507, "insufficient_storage")
        assert problem["retryable"]
        assert opened.http.get("/v1/jobs").json()["items"] == []


def test_many_clients_upload_slowly_at_once(api: Api) -> None:
    import concurrent.futures
    import time

    head = b'--b\r\nContent-Disposition: form-data; name="images"; filename="%d.jpg"\r\n\r\n'

    def slow_body(client: int) -> Iterator[bytes]:
        for name, (_, data) in enumerate(good_photos(2)):
            yield head % name
            for at in range(0, len(data), 400):
                yield data[at : at + 400]
                time.sleep(0.02)
            yield b"\r\n"
        yield b"--b--\r\n"

    def upload(client: int) -> int:
        with httpx.Client(base_url=api.url, timeout=30) as http:
            headers = {"Content-Type": "multipart/form-data; boundary=b"}
            return http.post("/v1/reconstructions", content=slow_body(client), headers=headers).status_code

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        uploads = [pool.submit(upload, client) for client in range(24)]
        started = time.monotonic()
        assert api.http.get("/v1/info").status_code == 200  # nobody waits for the slow ones
        assert time.monotonic() - started < 2
        assert [each.result() for each in uploads] == [202] * 24
    assert api.store.counts()["queued"] == 24
