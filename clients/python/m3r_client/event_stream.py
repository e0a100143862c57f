"""A job's server-sent events (HTML standard, section 9.2), read on after a break where they were left."""

from __future__ import annotations

import json
from collections.abc import Iterator

from m3r_client.answers import JobEvent
from m3r_client.errors import ConnectionLost
from m3r_client.retrying import Patience, RetryPolicy, wait_after
from m3r_client.simple_calls import job_path
from m3r_client.steps import Broken, Emit, Open, Pause, Read, Request, Steps

SILENCE_S = 40.0  # the service sends a comment every 15 s


class EventReader:
    """Turns the bytes of a stream into events."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, str] = {}

    def feed(self, chunk: bytes) -> Iterator[JobEvent]:
        """Take bytes as they come; give the events that are complete."""
        *lines, self._rest = (self._rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            if line:
                self._take(line.decode("utf-8", "replace"))
            elif (event := self._finish()) is not None:
                yield event

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data" and "data" in self._fields:
            value = self._fields["data"] + "\n" + value
        if name:  # a line that begins with a colon is a comment
            self._fields[name] = value

    def _finish(self) -> JobEvent | None:
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        data = json.loads(fields["data"])
        return JobEvent(fields.get("id", ""), fields.get("event", "message"), data if isinstance(data, dict) else {})


def follow_job(policy: RetryPolicy, job_id: str, last_event_id: str | None) -> Steps[None]:
    """Emits what happens to a job until it has ended; after a break none is lost, and none that has an id comes twice.

    Raises:
        Refused: the job is not there.
        ConnectionLost: the stream could not be taken up again.
    """
    patience = Patience(policy)
    last_id = last_event_id
    while True:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        request = Request("GET", f"{job_path(job_id)}/events", headers=headers, silence_s=SILENCE_S)
        answer = yield Open(request)
        if isinstance(answer, Broken) or answer.status >= 400:
            yield Pause(wait_after(answer, request, patience))
            continue
        if answer.status == 204:  # nothing follows the last event
            return
        reader = EventReader()
        chunk = yield Read()
        while isinstance(chunk, bytes):
            for event in reader.feed(chunk):
                patience.renew()
                last_id = event.id or last_id
                yield Emit(event)
                if event.terminal:
                    return
            chunk = yield Read()
        reason = chunk.reason if isinstance(chunk, Broken) else "the stream ended before the job"
        yield Pause(patience.next_wait(ConnectionLost(f"events of job {job_id}: {reason}")))
