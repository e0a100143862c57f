"""Event streams: ids, replay after `Last-Event-ID`, gaps, heart-beats, the end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fastapi.routing
import httpx
import pytest

from tests.services.api_stand import Api, api

__all__ = ["api"]


@dataclass
class Event:
    """One event as a client reads it."""

    id: str | None
    event: str
    data: dict[str, Any]


def read_events(answer: httpx.Response) -> Iterator[Event]:
    """Read server-sent events (the format of the WHATWG's HTML standard)."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line == "" and fields:
            yield Event(fields.get("id"), fields["event"], json.loads(fields["data"]))
            fields = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


def follow(api: Api, job_id: str, last: str | None = None, take: int | None = None) -> list[Event]:
    """Read a stream to its end, or its first events."""
    found: list[Event] = []
    headers = {} if last is None else {"Last-Event-ID": last}
    with api.http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        for event in read_events(answer):
            found.append(event)
            if len(found) == take:
                break
    return found


def test_a_stream_tells_the_whole_way_and_ends(api: Api) -> None:
    job_id = api.new_job()["id"]
    found: list[Event] = []
    reader = threading.Thread(target=lambda: found.extend(follow(api, job_id)))
    reader.start()
    while not found and "m3r_job_watchers 1.0" not in api.http.get("/metrics").text:
        time.sleep(0.02)
    token = api.claim(job_id)
    api.progress(job_id, token, 0.25)
    api.progress(job_id, token, 0.5)
    api.commit(job_id, token, {"scene.ply": b"ply"})
    reader.join(10)
    assert not reader.is_alive()
    assert [event.event for event in found] == ["job", "status", "progress", "progress", "status"]
    assert found[0].data["status"] == "queued"
    assert [e.data["status"] for e in found if e.event == "status"] == ["running", "succeeded"]
    assert [e.data["fraction"] for e in found if e.event == "progress"] == [0.25, 0.5]
    assert found[-1].data["terminal"]
    ids = [tuple(map(int, str(event.id).split("-"))) for event in found]
    assert ids == sorted(ids)


def test_events_come_at_once(api: Api) -> None:
    job_id = api.new_job()["id"]
    with api.http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        events = read_events(answer)
        assert next(events).event == "job"
        time.sleep(0.3)
        started = time.monotonic()
        api.claim(job_id)
        assert next(events).data["status"] == "running"
        assert time.monotonic() - started < 0.5


def test_replay_after_the_last_event(api: Api) -> None:
    job_id = api.new_job()["id"]
    token = api.claim(job_id)
    for fraction in (0.1, 0.2, 0.3):
        api.progress(job_id, token, fraction)
    stored = api.store.events(job_id)
    assert [event.event for event in stored] == ["status", "status", "progress", "progress", "progress"]
    api.commit(job_id, token, {"scene.ply": b"ply"})
    replayed = follow(api, job_id, last=stored[2].id)
    assert [event.id for event in replayed[:2]] == [stored[3].id, stored[4].id]
    assert replayed[-1].data["status"] == "succeeded"


def test_nobody_is_asked_back_after_the_last_event(api: Api) -> None:
    job_id = api.new_job()["id"]
    api.finish(job_id)
    last = api.store.events(job_id)[-1].id
    assert api.http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last}).status_code == 204


@pytest.mark.parametrize("last", ["1-0", "nonsense", "99999999999999-0"])
def test_a_gap_is_told_and_the_job_follows(api: Api, last: str) -> None:
    job_id = api.new_job()["id"]
    api.finish(job_id)
    events = follow(api, job_id, last=last)
    assert [event.event for event in events] == ["gap", "job"]
    assert events[0].data["last_event_id"] == last
    assert events[1].data["status"] == "succeeded"


def test_a_gap_when_events_were_trimmed(api: Api) -> None:
    job_id = api.new_job()["id"]
    token = api.claim(job_id)
    first = api.store.events(job_id)[0].id
    api.progress(job_id, token, 0.5)
    api.store.redis.xtrim(f"{api.store.prefix}events:{job_id}", maxlen=1, approximate=False)
    events = follow(api, job_id, last=first, take=2)
    assert [event.event for event in events] == ["gap", "job"]
    assert events[1].data["status"] == "running"


def test_an_ended_job_is_sent_and_the_stream_ends(api: Api) -> None:
    job_id = api.new_job()["id"]
    api.finish(job_id)
    (event,) = follow(api, job_id)
    assert (event.event, event.data["status"]) == ("job", "succeeded")


def test_heart_beats(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastapi.routing, "_PING_INTERVAL", 0.2)
    job_id = api.new_job()["id"]
    with api.http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        lines = answer.iter_lines()
        assert any(line.startswith(": ping") for line in lines)


def test_a_client_that_leaves_is_forgotten(api: Api) -> None:
    job_id = api.new_job()["id"]
    follow(api, job_id, take=1)
    deadline = time.monotonic() + 10
    while "m3r_job_watchers 0.0" not in api.http.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_24_streams_at_once(api: Api) -> None:
    job_id = api.new_job()["id"]
    found: list[list[Event]] = []
    readers = [threading.Thread(target=lambda: found.append(follow(api, job_id))) for _ in range(24)]
    for reader in readers:
        reader.start()
    while "m3r_job_watchers 24.0" not in api.http.get("/metrics").text:
        time.sleep(0.05)
    api.finish(job_id)
    for reader in readers:
        reader.join(10)
    assert [events[-1].data["status"] for events in found] == ["succeeded"] * 24
