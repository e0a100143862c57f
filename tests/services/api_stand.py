"""The API over a real socket, a real Redis-protocol server and a directory store; workers are played by the test."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import uvicorn

from services.adapters.job_store import JobStore
from services.adapters.objects import ObjectStore, open_store
from services.adapters.settings import Settings
from services.api.app import create_app
from services.api.http_connection import BoundedConnection
from services.contract import keys
from services.contract.jobs import Artifact, JobRecord, JobResult, Metrics, ProgressReport, Quality, Scale
from tests.services.bad_files import photo


@contextlib.contextmanager
def serve(settings: Settings) -> Iterator[str]:
    """Run the API in a thread; gives its URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, http=BoundedConnection, log_config=None, timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


@dataclass
class Api:
    """A running API and the stores behind it."""

    url: str
    http: httpx.Client
    settings: Settings
    store: JobStore
    objects: ObjectStore

    def submit(self, *photos: tuple[str, bytes], **fields: Any) -> httpx.Response:
        """Send photographs as one job."""
        return self.http.post("/v1/reconstructions", files=[("images", each) for each in photos], data=fields)

    def submit_archive(self, archive: bytes, **fields: Any) -> httpx.Response:
        """Send a zip as one job."""
        return self.http.post("/v1/reconstructions", files={"archive": ("photos.zip", archive)}, data=fields)

    def new_job(self, count: int = 2, **fields: Any) -> dict[str, Any]:
        """Submit good photographs; gives the job."""
        answer = self.submit(*good_photos(count), **fields)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def job(self, job_id: str) -> dict[str, Any]:
        """Read a job."""
        return dict(self.http.get(f"/v1/jobs/{job_id}").json())

    def claim(self, job_id: str) -> str:
        """Take the job as a worker; gives the token."""
        record = self.store.claim(job_id, "tests:1")
        assert record is not None
        assert record.token is not None
        return record.token

    def finish(self, job_id: str, files: dict[str, bytes] | None = None) -> JobResult:
        """Do a whole job as a worker would: claim, results, commit."""
        token = self.claim(job_id)
        return self.commit(job_id, token, files or {"scene.ply": b"ply\n" * 1000, "poses.json": b'{"schema_version": 1}'})

    def commit(self, job_id: str, token: str, files: dict[str, bytes], quality: Quality | None = None, **told: Any) -> JobResult:
        """Write results and publish them."""
        for name, data in files.items():
            self.objects.put(keys.artifact(job_id, token, name), data)
        result = JobResult(
            token=token,
            artifacts=[
                Artifact(name=n, media_type="application/octet-stream", bytes=len(d), sha256=hashlib.sha256(d).hexdigest())
                for n, d in files.items()
            ],
            scale=Scale(metric=True, source="network"),
            quality=quality or Quality(verdict="good"),
            metrics=Metrics(compute_s=1.5, images_used=2, images_total=2),
            **told,
        )
        assert self.store.commit(job_id, token, result)
        return result

    def progress(self, job_id: str, token: str, fraction: float) -> None:
        """Report progress as a worker would."""
        report = ProgressReport(fraction=fraction, stage="encode", updated_at=datetime.now(UTC))
        assert self.store.heartbeat(job_id, token, report) is not None

    def record(self, job_id: str) -> JobRecord:
        """Read the truth."""
        return self.store.require(job_id)

    def stored(self, prefix: str) -> list[str]:
        """Keys in the object store."""
        return [found.key for found in self.objects.list(prefix)]


def good_photos(count: int) -> list[tuple[str, bytes]]:
    """Photographs with names."""
    return [(f"photo_{n}.jpg", photo(n)) for n in range(count)]


@contextlib.contextmanager
def open_api(settings: Settings) -> Iterator[Api]:
    """Run the API with its stores."""
    store = JobStore(settings)
    with serve(settings) as url, httpx.Client(base_url=url, timeout=30) as http:
        yield Api(url, http, settings, store, open_store(settings))
    store.redis.close()


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    """The API of one test."""
    with open_api(settings) as opened:
        yield opened


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a problem document (RFC 9457) with all our members; gives it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = dict(answer.json())
    assert set(problem) == {"type", "title", "status", "detail", "instance", "code", "request_id", "retryable", "errors"}
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert all(set(error) == {"pointer", "message"} for error in problem["errors"])
    return problem
