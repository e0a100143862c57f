"""An API that is killed in the middle of uploads: the next one goes on, nothing is done twice, and what was left over goes."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.adapters.capture_reaping import sweep_captures
from services.adapters.embedded import free_port
from services.adapters.job_store import JobStore
from services.adapters.objects import open_store
from services.adapters.settings import Settings, to_environment
from tests.services.api_stand import good_photos
from tests.services.bad_files import photo
from tests.services.service_stand import wait_for

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (
    "import uvicorn; from services.api.app import create_app; from services.adapters.settings import Settings; "
    "s = Settings(); uvicorn.run(create_app(s), host=s.host, port=s.port, log_config=None)"
)
BOUNDARY = "b"


@contextlib.contextmanager
def api_process(settings: Settings) -> Iterator[httpx.Client]:
    """The API in a process of its own; it is killed at the end, as by a machine that loses power."""
    environment = {**os.environ, **to_environment(settings), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{settings.port}", timeout=20) as client:
            wait_for(lambda: process.poll() is None and answers(client), 40, "the API")
            yield client
    finally:
        process.kill()
        process.wait(20)


def answers(client: httpx.Client) -> bool:
    """Whether it is there."""
    try:
        return client.get("/healthz/live").status_code == 200
    except httpx.TransportError:
        return False


def begin(client: httpx.Client, method: str, path: str, length: int, body: bytes, **headers: str) -> http.client.HTTPConnection:
    """Send the beginning of a request."""
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=20)
    connection.putrequest(method, path)
    for name, value in {**headers, "Content-Length": str(length)}.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    return connection


def submit(client: httpx.Client, key: str) -> httpx.Response:
    """Submit two photographs under a key."""
    files = [("images", each) for each in good_photos(2)]
    return client.post("/v1/reconstructions", files=files, headers={"Idempotency-Key": key})


@pytest.fixture
def killable(settings: Settings) -> Settings:
    """Settings of the API's processes: one address for all of them, and a try that is not heard for a second is dead."""
    return settings.model_copy(update={"port": free_port(), "idempotency_lease_s": 1.0})


def test_uploads_go_on_after_the_api_was_killed(killable: Settings) -> None:
    objects, store = open_store(killable), JobStore(killable)
    with api_process(killable) as client:
        capture = client.post("/v1/captures").json()["id"]
        assert client.put(f"/v1/captures/{capture}/images/a.jpg", content=photo(0)).status_code == 201
        put = begin(client, "PUT", f"/v1/captures/{capture}/images/b.jpg", len(photo(1)), photo(1)[:-100])
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="photo_0.jpg"\r\n\r\n'.encode()
        body = head + photo(0) + f"\r\n--{BOUNDARY}\r\n".encode()
        form = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Idempotency-Key": "k"}
        post = begin(client, "POST", "/v1/reconstructions", 100_000, body, **form)
        wait_for(lambda: len(list(objects.list_folders("captures/"))) == 2, what="a photograph of the submission")
    put.close()
    post.close()
    (leftover,) = set(objects.list_folders("captures/")) - {capture}
    with api_process(killable) as client:
        deadline = time.monotonic() + 20
        while (answer := submit(client, "k")).status_code == 409 and time.monotonic() < deadline:
            assert answer.json()["code"] == "request_in_flight"
            time.sleep(min(0.3, float(answer.headers["retry-after"])))
        assert answer.status_code == 202, answer.text
        job = answer.json()
        assert submit(client, "k").content == answer.content
        assert [image["name"] for image in client.get(f"/v1/captures/{capture}").json()["images"]] == ["a.jpg"]
        assert client.put(f"/v1/captures/{capture}/images/b.jpg", content=photo(1)).status_code == 201
        second = client.post("/v1/reconstructions", json={"capture_id": capture}).json()
        listed = client.get("/v1/jobs").json()["items"]
        assert [each["id"] for each in listed] == [second["id"], job["id"]]
    assert set(objects.list_folders("captures/")) == {capture, leftover, job["capture_id"]}
    at_once = killable.model_copy(update={"capture_expiry_h": 1e-6})
    assert sweep_captures(store, objects, at_once) == 1
    assert set(objects.list_folders("captures/")) == {capture, job["capture_id"]}


def test_an_api_killed_after_it_accepted_has_its_job_answered_by_the_next(killable: Settings) -> None:
    """The client waits for the end of its job; the API dies meanwhile; the client asks again."""
    store = JobStore(killable)
    with api_process(killable) as client:
        files = [("images", each) for each in good_photos(2)]
        request = client.build_request("POST", "/v1/reconstructions", files=files)
        headers = {"Content-Type": request.headers["content-type"], "Idempotency-Key": "k", "Prefer": "wait=30"}
        body = request.read()
        waiting = begin(client, "POST", "/v1/reconstructions", len(body), body, **headers)
        (job_id,) = wait_for(lambda: store.redis.zrange(store.prefix + "queued", 0, -1), what="the job")
    waiting.close()
    with api_process(killable) as client:
        deadline = time.monotonic() + 20
        while (answer := submit(client, "k")).status_code == 409 and time.monotonic() < deadline:
            time.sleep(0.3)
        assert (answer.status_code, answer.json()["id"]) == (202, job_id)
        assert len(client.get("/v1/jobs").json()["items"]) == 1
