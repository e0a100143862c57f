"""An API that is killed while it tells a receiver, and a Redis that restarts meanwhile: every event arrives, in its order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.adapters.embedded import EmbeddedRedis, free_port
from services.adapters.job_store import JobStore
from services.adapters.settings import Settings
from services.adapters.transitions import job_error
from services.contract.codes import JobErrorCode
from tests.services.api_stand import good_photos
from tests.services.conftest import make_settings
from tests.services.service_stand import wait_for
from tests.services.test_api_killed import api_process
from tests.services.webhook_receiver import SECRET, receiver

EVENTS = ["job.running", "job.failed"]
FAILURE = job_error(JobErrorCode.NO_OVERLAP, "no two photographs overlap")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A Redis server of the test's own."""
    with EmbeddedRedis(tmp_path / "redis") as started:
        yield started


@pytest.fixture
def killable(server: EmbeddedRedis, tmp_path: Path) -> Settings:
    """Settings of the API's processes; a taken event comes back after 2 x 0.8 + 5 s."""
    return make_settings(
        server.url,
        tmp_path,
        port=free_port(),
        webhook_allowed_networks=("127.0.0.0/8",),
        webhook_timeout_s=0.8,
        webhook_retry_first_s=0.1,
        webhook_max_attempts=200,
    )


def submit(client: httpx.Client, url: str) -> str:
    """Submit a job whose owner hears of two of its steps."""
    webhook = json.dumps({"url": url, "secret": SECRET, "events": EVENTS})
    files = [("images", each) for each in good_photos(2)]
    return str(client.post("/v1/reconstructions", files=files, data={"webhook": webhook}).json()["id"])


@pytest.mark.parametrize("redis_too", [False, True], ids=["api", "api and redis"])
def test_an_api_killed_while_it_delivers(killable: Settings, server: EmbeddedRedis, redis_too: bool) -> None:
    store = JobStore(killable)
    with receiver() as hook:
        hook.script = ["stall", 500, 200]
        with api_process(killable) as client:
            job_id = submit(client, hook.url)
            running = store.claim(job_id, "tests:1")
            assert running is not None
            assert running.token is not None
            wait_for(lambda: hook.received, what="the first delivery")
        assert store.fail(job_id, running.token, FAILURE)  # nobody is there to deliver it
        if redis_too:
            server.restart()
        with api_process(killable) as client:
            wait_for(lambda: hook.received and hook.received[-1].sequence == 2, 40, "the second event")
            found = wait_for(
                lambda: [each for each in client.get(f"/v1/jobs/{job_id}/deliveries").json()["items"] if each["delivered_at"]][
                    1:
                ],
                what="both deliveries",
            )
    assert len(found) == 1
    assert [each.sequence for each in hook.received] == [1, 1, 1, 2]
    assert [each.event["type"] for each in hook.received[2:]] == EVENTS
    assert len({(each.id, each.body) for each in hook.received[:3]}) == 1
    for each in hook.received:
        each.verify()


def test_redis_restarts_while_events_wait(killable: Settings, server: EmbeddedRedis) -> None:
    store = JobStore(killable)
    with receiver() as hook, api_process(killable) as client:
        hook.script = [503]
        jobs = [submit(client, hook.url) for _ in range(3)]
        for job_id in jobs:
            running = store.claim(job_id, "tests:1")
            assert running is not None
            assert running.token is not None
            assert store.fail(job_id, running.token, FAILURE)
        wait_for(lambda: len(hook.received) > 4, what="tries that fail")
        server.restart()
        hook.script = [200]

        def settled() -> bool:
            listed = [client.get(f"/v1/jobs/{job_id}/deliveries").json().get("items", []) for job_id in jobs]
            return all(len(items) == 2 and all(each["status"] == "delivered" for each in items) for items in listed)

        wait_for(settled, 60, "every event")
    for job_id in jobs:
        told = [each.sequence for each in hook.received if each.event["data"]["job_id"] == job_id]
        assert told == sorted(told)
        assert set(told) == {1, 2}
