"""Structured logs: JSON lines, one request id from HTTP to the worker, and no secrets."""

from __future__ import annotations

import asyncio
import contextvars
import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from services.adapters.job_store import JobStore
from services.adapters.json_logs import JsonFormatter, log_as_json, log_facts, note_facts, redact
from services.adapters.key_store import KeyStore
from services.adapters.objects import open_store
from services.adapters.queue import JobQueue
from services.adapters.reaper import lose_expired
from services.adapters.settings import Settings
from tests.services.api_stand import good_photos, open_api
from tests.services.service_stand import Stand, make_record, wait_for
from tests.services.webhook_receiver import SECRET, receiver

KEY = "m3r_" + "Zk3" * 14


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the service's loggers write during a test."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    loggers = [logging.getLogger(name) for name in ("services", "m3r", "uvicorn", "tests.logs")]
    for logger in loggers:
        logger.addHandler(handler)
    logging.getLogger("tests.logs").setLevel("INFO")
    yield stream
    for logger in loggers:
        logger.removeHandler(handler)


def parsed(text: str) -> list[dict[str, Any]]:
    """Every line; each must be JSON."""
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_is_json_with_the_facts_around_it(lines: io.StringIO) -> None:
    log = logging.getLogger("tests.logs")
    with log_facts(job_id="job_1", attempt=1, request_id=None):
        log.info("two\nlines: %s", '"quoted"')
        with log_facts(attempt=2):
            note_facts(tenant="north")
            log.warning("inner", extra={"seconds": 0.5, "job_id": "job_2"})
        log.info("outer again")
    note_facts(tenant="nobody's")
    log.info("outside")
    first, inner, again, outside = parsed(lines.getvalue())
    assert first["message"] == 'two\nlines: "quoted"'
    assert {"time", "level", "logger", "pid", "message", "job_id", "attempt"} == set(first)
    assert {name: inner[name] for name in ("job_id", "attempt", "tenant", "seconds")} == {
        "job_id": "job_2",
        "attempt": 2,
        "tenant": "north",
        "seconds": 0.5,
    }
    assert (again["attempt"], "tenant" in again) == (1, False)
    assert not {"job_id", "attempt", "tenant"} & set(outside)


def test_facts_go_with_tasks_and_threads_that_copy_their_context(lines: io.StringIO) -> None:
    log = logging.getLogger("tests.logs")

    async def request(name: str) -> None:
        with log_facts(request_id=name):
            await asyncio.sleep(0)
            await asyncio.to_thread(log.info, "%s", name)
            thread = threading.Thread(target=contextvars.copy_context().run, args=(log.info, "%s", name))
            thread.start()
            thread.join()

    async def several() -> None:
        await asyncio.gather(*(request(f"req_{n}") for n in range(5)))

    asyncio.run(several())
    found = parsed(lines.getvalue())
    assert len(found) == 10
    assert all(line["request_id"] == line["message"] for line in found)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"the key {KEY} is wrong", KEY),
        (f"Authorization: Bearer {KEY}", KEY),
        ("Bearer abcdefgh.ijkl", "abcdefgh"),
        (f"secret={SECRET}", SECRET),
        ("redis://user:hunter2@10.0.0.1:6379/0", "hunter2"),
        ("GET /v1/jobs/job_1/events?tenant=a&exp=1&sig=ab.c_d-e HTTP/1.1", "ab.c_d-e"),
        ("https://s3.example/b/k?X-Amz-Credential=AKIA&X-Amz-Signature=0123abcd", "0123abcd"),
    ],
)
def test_what_looks_like_a_secret_is_left_out(lines: io.StringIO, text: str, secret: str) -> None:
    log = logging.getLogger("tests.logs")
    log.info(text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("failed")
    assert secret not in lines.getvalue()
    assert [line["message"] for line in parsed(lines.getvalue())] == [redact(text), "failed"]


def test_what_is_no_secret_stays() -> None:
    for text in ("job_01996a00-0000-7000-8000-000000000001", "m3r_client 0.1", "https://a.example/x?y=z", "a basic test"):
        assert redact(text) == text


def test_setting_up_twice_writes_each_line_once() -> None:
    logger = logging.getLogger("tests.logs.twice")
    logger.propagate = False
    log_as_json(logger, "info")
    (handler,) = logger.handlers
    log_as_json(logger, "warning")
    assert logger.handlers == [handler]
    assert logger.level == logging.WARNING


def test_a_lost_worker_is_logged_under_the_request_of_its_job(
    store: JobStore, queue: JobQueue, settings: Settings, lines: io.StringIO
) -> None:
    record = make_record(settings, request_id="req_7")
    store.create(record)
    assert store.claim(record.id, "gone/1/2") is not None
    assert lose_expired(store, queue, record.id)
    (line,) = parsed(lines.getvalue())
    assert "gone/1/2 was not heard" in line["message"]
    assert {name: line[name] for name in ("level", "job_id", "request_id", "tenant", "attempt")} == {
        "level": "warning",
        "job_id": record.id,
        "request_id": "req_7",
        "tenant": "local",
        "attempt": 1,
    }


def test_one_request_id_leads_from_http_to_the_worker(settings: Settings, stand: Stand, lines: io.StringIO) -> None:
    worker = stand.start_worker()
    quick = settings.model_copy(update={"webhook_allowed_networks": ("127.0.0.0/8",)})
    key, _ = KeyStore(open_store(settings)).create("north", ["read", "write"])
    headers = {"Authorization": f"Bearer {key}", "X-Request-Id": "phone-7.42"}
    with receiver() as hook, open_api(quick) as api:
        files = [("images", each) for each in good_photos(2)]
        fields = {"webhook": json.dumps({"url": f"{hook.url}?token=hunter2", "secret": SECRET})}
        job = api.http.post("/v1/reconstructions", files=files, data=fields, headers=headers).json()
        done = stand.wait_terminal(api.record(job["id"]))
        wait_for(lambda: hook.received, what="the webhook")
        wait_for(lambda: '"delivery_id"' in lines.getvalue(), what="its line")
        missing = api.http.get("/v1/jobs/job_x", headers={"Authorization": f"Bearer {key}"})
        wait_for(lambda: missing.headers["x-request-id"] in lines.getvalue(), what="the last request's line")
    assert done.request_id == "phone-7.42"
    wait_for(lambda: "artefacts" in worker.log.read_text(), what="the worker's last line")
    of_api, of_worker = parsed(lines.getvalue()), parsed(worker.log.read_text())
    access = next(line for line in of_api if line.get("route") == "/v1/reconstructions")
    assert (access["request_id"], access["tenant"], access["status"]) == ("phone-7.42", "north", 202)
    accepted = next(line for line in of_api if line.get("job_id") == job["id"])
    assert (accepted["request_id"], accepted["tenant"]) == ("phone-7.42", "north")
    told = next(line for line in of_api if "delivery_id" in line)
    assert (told["request_id"], told["tenant"], told["host"]) == ("phone-7.42", "north", "127.0.0.1")
    begun, ended = [line for line in of_worker if line.get("job_id") == job["id"]]
    for line in (begun, ended):
        assert (line["request_id"], line["tenant"], line["attempt"]) == ("phone-7.42", "north", 1)
    assert "succeeded" in ended["message"]
    refused = next(line for line in of_api if line.get("status") == 404)
    assert refused["request_id"] == missing.headers["x-request-id"]
    everything = lines.getvalue() + worker.log.read_text()
    assert [secret for secret in (key, SECRET, "hunter2") if secret in everything] == []
