"""The parts of the client that need no service: patience, reading answers, events, folders; and what it is made of."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import m3r_client
from m3r_client import Client, InvalidRequest, Job, RateLimited, RetryPolicy, Unavailable, UnexpectedAnswer
from m3r_client.answers import FieldError
from m3r_client.decoding import decode
from m3r_client.downloading import place_in
from m3r_client.errors import make_refusal
from m3r_client.event_stream import EventReader
from m3r_client.retrying import send
from m3r_client.steps import Broken, Pause, Reply, Request

ROOT = Path(__file__).resolve().parents[2]


class Clock:
    """Time that passes when someone waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


INFO = Request("GET", "/v1/info")


def play(answers: list[Reply | Broken], request: Request = INFO, **policy: Any) -> tuple[Reply | Exception, list[float]]:
    """Answer a request again and again; gives how it ended and the pauses."""
    clock = Clock()
    steps = send(request, RetryPolicy(clock=clock, **policy))
    pauses, answer = [], None
    waiting = iter(answers)
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            return end.value, pauses
        except m3r_client.M3rError as error:
            return error, pauses
        if isinstance(step, Pause):
            pauses.append(step.seconds)
            clock.now += step.seconds
            answer = None
        else:
            answer = next(waiting)


def problem(status: int, code: str, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, headers or {}, json.dumps({"code": code, "detail": "no", "request_id": "req_1"}).encode())


GOOD = Reply(200, {}, b"{}")


def test_waits_grow_are_spread_and_bounded() -> None:
    answers: list[Reply | Broken] = [Broken("cut")] * 8 + [GOOD]
    _, most = play(answers, first_s=1.0, longest_s=10.0, patience_s=100.0, spread=lambda: 0.999999)
    assert most == pytest.approx([1, 2, 4, 8, 10, 10, 10, 10], rel=1e-4)
    _, least = play(answers, first_s=1.0, longest_s=10.0, patience_s=100.0, spread=lambda: 0.0)
    assert least == [0.5, 1, 2, 4, 5, 5, 5, 5]


def test_retry_after_is_honoured() -> None:
    end, pauses = play([problem(429, "rate_limited", {"retry-after": "7"}), GOOD], first_s=0.1, patience_s=30.0)
    assert end == GOOD
    assert pauses == [7.0]
    end, pauses = play([problem(429, "rate_limited", {"retry-after": "31"}), GOOD], patience_s=30.0)
    assert isinstance(end, RateLimited)  # told at once: the caller knows better whether to wait so long
    assert end.retry_after == 31.0
    assert pauses == []


@pytest.mark.parametrize(
    ("answer", "repeated"),
    [
        (Broken("cut"), True),
        (problem(503, "storage_unavailable"), True),
        (Reply(502, {}, b"<html>proxy</html>"), True),
        (problem(409, "request_in_flight"), True),
        (problem(422, "digest_mismatch"), True),
        (problem(409, "conflict"), False),
        (problem(422, "invalid_options"), False),
        (problem(401, "unauthorized"), False),
        (problem(500, "internal"), False),
        (problem(507, "insufficient_storage"), False),
    ],
)
def test_what_is_repeated(answer: Reply | Broken, repeated: bool) -> None:
    end, _ = play([answer, GOOD])
    assert (end == GOOD) is repeated


@pytest.mark.parametrize(("broken", "repeated"), [(Broken("refused", sent=False), True), (Broken("cut"), False)])
def test_what_would_be_there_twice_is_sent_again_only_if_it_never_left(broken: Broken, repeated: bool) -> None:
    end, _ = play([broken, GOOD], request=Request("POST", "/v1/references", repeatable=False))
    assert (end == GOOD) is repeated
    assert repeated or "look before you ask again" in str(end)


def test_a_redirect_is_not_followed_with_the_key() -> None:
    end, pauses = play([Reply(308, {"location": "https://elsewhere.example/v1/info"})])
    assert isinstance(end, UnexpectedAnswer)
    assert "https://elsewhere.example" in str(end)
    assert pauses == []


@pytest.mark.parametrize(
    ("url", "key"), [("localhost:8000", None), ("ftp://a", None), ("http://a", "m3r_\n"), ("http://a", "ключ")]
)
def test_what_could_never_work_is_refused_at_once(url: str, key: str | None) -> None:
    with pytest.raises(ValueError, match=r"http://|m3r_") as caught:
        Client(url, key)
    assert key is None or key not in str(caught.value)


def test_a_refusal_that_is_no_problem_document_keeps_its_text() -> None:
    end, _ = play([Reply(500, {}, b"<html>Bad gateway</html>")])
    assert isinstance(end, Unavailable)
    assert "Bad gateway" in str(end)
    error = make_refusal(418, {"code": "teapot"}, None, [FieldError("/pot", "is short")])
    assert isinstance(error, InvalidRequest)
    assert str(error) == "418 teapot:  (/pot is short)"


def test_unknown_fields_are_passed_over_and_missing_ones_named() -> None:
    document = {"id": "job_1", "status": "dreaming", "terminal": True, "mood": {"x": 1}, "attempts": [{"number": 1, "more": 2}]}
    job = decode(Job, document)
    assert (job.status, job.terminal, job.attempts[0].number) == ("dreaming", True, 1)
    with pytest.raises(UnexpectedAnswer, match=r"Job\.terminal is missing"):
        decode(Job, {"id": "job_1", "status": "queued"})
    with pytest.raises(UnexpectedAnswer, match=r"Job\.progress\.fraction"):
        decode(Job, {**document, "progress": {"fraction": "much", "stage": "load"}})
    with pytest.raises(UnexpectedAnswer, match=r"Job\.created_at"):
        decode(Job, {**document, "created_at": "yesterday"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        job.status = "running"  # type: ignore[misc]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_read_from_pieces_of_any_size(size: int) -> None:
    text = b'event: job\r\nid: 1-0\r\ndata: {"a":\r\ndata: 1}\r\n\r\n: ping\n\n'
    text += b'event: status\nid: 2-0\ndata: {"terminal": true}\n\n'
    reader = EventReader()
    events = [event for at in range(0, len(text), size) for event in reader.feed(text[at : at + size])]
    assert [(event.event, event.id, dict(event.data)) for event in events] == [
        ("job", "1-0", {"a": 1}),
        ("status", "2-0", {"terminal": True}),
    ]


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../b", "", "..", "a\\..\\b"])
def test_no_file_leaves_the_folder(name: str) -> None:
    with pytest.raises(UnexpectedAnswer):
        place_in(Path("out"), name)
    assert place_in(Path("out"), "sub/scene.ply") == Path("out/sub/scene.ply")


def test_a_broken_work_ends_the_parallel_uploads_at_once(tmp_path: Path) -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(FileNotFoundError):
        client._runner.run(gather([tmp_path / "missing.jpg"]))


def gather(files: list[Path]) -> Any:
    from functools import partial

    from m3r_client.steps import Together, Work

    def wait_long() -> Any:
        yield Pause(60.0)

    def read(file: Path) -> Any:
        return (yield Work(file.read_bytes))

    return (yield Together([wait_long, *(partial(read, file) for file in files)], 4))


def test_the_package_stands_alone() -> None:
    code = "import sys, m3r_client; print([n for n in ('torch', 'fastapi', 'pydantic', 'services', 'm3r') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
    project = tomllib.loads((ROOT / "clients" / "python" / "pyproject.toml").read_text())["project"]
    assert [requirement.split(">")[0] for requirement in project["dependencies"]] == ["httpx"]
    assert (ROOT / "clients" / "python" / "m3r_client" / "py.typed").exists()


def test_all_names_are_sorted_and_there() -> None:
    assert m3r_client.__all__ == sorted(m3r_client.__all__)
    assert all(hasattr(m3r_client, name) for name in m3r_client.__all__)


def test_both_clients_have_the_same_calls() -> None:
    import inspect

    names = {name for name in dir(m3r_client.Client) if not name.startswith("_")}
    assert names == {name for name in dir(m3r_client.AsyncClient) if not name.startswith("_")}
    for name in names:
        blocking = inspect.signature(getattr(m3r_client.Client, name))
        other = inspect.signature(getattr(m3r_client.AsyncClient, name))
        assert list(blocking.parameters.values()) == list(other.parameters.values()), name
