"""The real API behind a connection that can be cut, and workers played by a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from m3r_client import Client, RetryPolicy
from services.adapters.job_store import JobStore
from services.contract.states import JobStatus
from tests.clients.flaky_proxy import FlakyProxy
from tests.services.api_stand import Api, api
from tests.services.conftest import redis_server, settings

__all__ = ["api", "redis_server", "settings"]

QUICK = RetryPolicy(first_s=0.02, longest_s=0.3, patience_s=20.0)
RESULT = {"scene.ply": bytes(range(256)) * 4096, "poses.json": b'{"schema_version": 1}', "sub/deep.bin": b"0" * 10}


@pytest.fixture
def proxy(api: Api) -> Iterator[FlakyProxy]:
    with FlakyProxy(int(api.url.rpartition(":")[2])) as opened:
        yield opened


@pytest.fixture
def client(api: Api) -> Iterator[Client]:
    with Client(api.url, retry=QUICK) as opened:
        yield opened


@pytest.fixture
def flaky_client(proxy: FlakyProxy) -> Iterator[Client]:
    with Client(proxy.url, retry=QUICK) as opened:
        yield opened


@pytest.fixture
def worker(api: Api) -> Iterator[None]:
    """Does every job that is queued."""
    stop = threading.Event()
    store = JobStore(api.settings)

    def work() -> None:
        while not stop.wait(0.03):
            for record in store.list("default", JobStatus.QUEUED)[0]:
                api.finish(record.id, RESULT)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()
    store.redis.close()
