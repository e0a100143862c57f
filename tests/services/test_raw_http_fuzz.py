"""Bytes that are hardly HTTP, on every route of openapi.yaml: no answer of 5xx, no dead process, and good requests go on.

The service is a process of its own, so that a crash is seen as one. Draws are seeded: a finding can be repeated.
"""

from __future__ import annotations

import concurrent.futures
import errno
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import yaml

from services.contract.ids import new_id
from tests.services.api_stand import good_photos
from tests.services.service_stand import ROOT, wait_for

ANSWER_WITHIN_S = 30.0
PATIENCE_S = 0.3  # for an answer, before the connection is half closed
LORIS = 40  # connections that send a byte now and then
RIGHT = (503, 507)  # a store is away or full: an answer with its reason
STATUS = re.compile(rb"(?:^|\r\n\r\n|\})HTTP/1\.1 (\d{3}) ")


@dataclass(frozen=True)
class Sent:
    """What is written to a connection, piece by piece; then no more comes."""

    name: str
    pieces: list[bytes]


@dataclass(frozen=True)
class Route:
    """An operation, with names and ids in its path."""

    method: str
    path: str


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`m3r serve` without workers; its URL."""
    folder = tmp_path_factory.mktemp("raw")
    ready, log = folder / "url", folder / "log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("M3R_")}
    environment |= {"M3R_MIN_FREE_DISK_BYTES": "0", "M3R_LOG_LEVEL": "WARNING"}
    command = [sys.executable, "-m", "m3r", "serve", "--port", "0", "--workers", "0", "--data", str(folder / "data")]
    with log.open("wb") as sink:
        started = subprocess.Popen([*command, "--ready-file", str(ready)], cwd=ROOT, env=environment, stdout=sink, stderr=sink)
    try:
        wait_for(lambda: ready.exists() or started.poll() is not None, 90, "the service")
        assert started.poll() is None, log.read_text()
        yield ready.read_text(), started
        assert started.poll() is None, log.read_text()[-4000:]
        assert "unhandled error" not in log.read_text(), log.read_text()[-8000:]
        assert "Traceback" not in log.read_text(), log.read_text()[-8000:]
    finally:
        started.terminate()
        started.wait(60)


@pytest.fixture
def url(process: tuple[str, subprocess.Popen[bytes]]) -> Iterator[str]:
    """The service's URL; after the test it must serve as before."""
    where, started = process
    yield where
    assert started.poll() is None, "the service died"
    assert_serves(where)


def assert_serves(url: str) -> None:
    """The service lives, takes a job and shows it."""
    assert httpx.get(f"{url}/healthz/live", timeout=30).status_code == 200
    answer = httpx.post(f"{url}/v1/reconstructions", files=[("images", each) for each in good_photos(2)], timeout=60)
    assert answer.status_code == 202, answer.text
    assert httpx.get(f"{url}/v1/jobs/{answer.json()['id']}", timeout=30).json()["status"] == "queued"


def routes(url: str) -> list[Route]:
    """Every operation of the document, on a job and a capture that exist; what deletes has ones of its own."""
    kept, deleted = make_ids(url), make_ids(url)
    described = yaml.safe_load((ROOT / "openapi.yaml").read_text())
    found = []
    for template, operations in described["paths"].items():
        for method in operations:
            ids = deleted if method == "delete" else kept
            found.append(Route(method.upper(), re.sub(r"\{(\w+)\}", lambda match, ids=ids: ids.get(match[1], "x"), template)))
    return found


def make_ids(url: str) -> dict[str, str]:
    """Make a job and a capture with a photograph; gives what may stand in a path."""
    photos = good_photos(2)
    job = httpx.post(f"{url}/v1/reconstructions", files=[("images", each) for each in photos], timeout=60).json()
    capture_id = httpx.post(f"{url}/v1/captures", timeout=30).json()["id"]
    httpx.put(f"{url}/v1/captures/{capture_id}/images/photo_0.jpg", content=photos[0][1], timeout=30).raise_for_status()
    return {
        "job_id": job["id"],
        "capture_id": capture_id,
        "name": "photo_0.jpg",
        "upload_id": new_id("upl"),
        "reference_id": new_id("ref"),
        "map_id": new_id("map"),
        "delivery_id": "evt_1",
    }


def exchange(url: str, sent: Sent) -> list[int]:
    """Send and read until the service closes; gives the statuses of its answers."""
    place, got = urlsplit(url), b""
    with socket.create_connection((place.hostname, place.port), timeout=ANSWER_WITHIN_S) as connection:
        try:
            for piece in sent.pieces:
                connection.sendall(piece)
                if len(sent.pieces) > 1:
                    time.sleep(0.001)
            connection.settimeout(PATIENCE_S)
            while chunk := receive(connection):
                got += chunk
        except ConnectionError:  # it may refuse to read on
            pass
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
    return [int(status) for status in STATUS.findall(got)]


def receive(connection: socket.socket) -> bytes:
    """Read what comes; where the service waits for more, say that there is none."""
    try:
        return connection.recv(65536)
    except TimeoutError:
        connection.settimeout(ANSWER_WITHIN_S)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(65536)


def head(route: Route, *lines: str, version: str = "HTTP/1.1", path: str | None = None) -> bytes:
    """Request line and headers, without the empty line."""
    return "\r\n".join([f"{route.method} {path or route.path} {version}", "Host: x", *lines, ""]).encode("latin-1")


def whole(route: Route, body: bytes, *lines: str) -> bytes:
    """A complete request."""
    return head(route, f"Content-Length: {len(body)}", *lines, "Connection: close") + b"\r\n" + body


Mutation = Callable[[Route, random.Random], list[bytes]]
MULTIPART = "Content-Type: multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n'


def noise(rng: random.Random, most: int = 300) -> bytes:
    """Bytes of any kind."""
    return rng.randbytes(rng.randrange(1, most))


def bad_request_line(route: Route, rng: random.Random) -> list[bytes]:
    lines = [
        f"{route.method}{route.path} HTTP/1.1",
        f"{route.method} {route.path}",
        f"{route.method} {route.path} HTTP/9.9",
        f"{route.method} {route.path} HTTP/1.1 HTTP/1.1",
        f"{route.method}\t{route.path}\tHTTP/1.1",
        f"{route.method.lower()} {route.path} HTTP/1.1",
        f"G\x00T {route.path} HTTP/1.1",
        f" {route.path} HTTP/1.1",
        f"{route.method} {route.path}\r HTTP/1.1",
        f"{route.method} http://[::1{route.path} HTTP/1.1",
        f"{route.method} // HTTP/1.1",
        f"{route.method} * HTTP/1.1",
        f"{'M' * 5000} {route.path} HTTP/1.1",
        f"CONNECT {route.path} HTTP/1.1",
        "PRI * HTTP/2.0",
    ]
    return [rng.choice(lines).encode("latin-1") + b"\r\nHost: x\r\nConnection: close\r\n\r\n"]


def bad_headers(route: Route, rng: random.Random) -> list[bytes]:
    choices = [
        "no colon here",
        ": no name",
        "Na me: x",
        "Name\x00: x",
        "Name: a\x00b",
        " folded: line",
        "Content-Length: -1",
        "Content-Length: 1e3",
        "Content-Length: " + "9" * 40,
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: \x0bchunked",
        "Authorization: Bearer \xff\xfe",
        "Authorization: " + "Bearer " * 50,
        "X-Request-Id: " + "\xe9" * 40,
        "Content-Type: multipart/form-data; boundary=" + "x" * 300,
        "Content-Type: multipart/form-data",
        "Content-Type: ;;;=",
        "Content-Digest: sha-256=:####:",
        "Prefer: wait=99999999999999999999",
        "Idempotency-Key: " + "\xff" * 20,
        "Last-Event-ID: \x80\x81",
        "If-None-Match: \x22\x22\x22,,,",
        "Range: bytes=-0,9999999999999999999999-",
        "Expect: 200-maybe",
        "Upgrade: websocket\r\nConnection: Upgrade",
        "Host: y\r\nHost: z",
    ]
    lines = rng.sample(choices, rng.randrange(1, 4))
    return [head(route, *lines, "Connection: close") + b"\r\n" + noise(rng, 20)]


def huge_headers(route: Route, rng: random.Random) -> list[bytes]:
    kind = rng.randrange(3)
    if kind == 0:
        return [head(route, f"X-Long: {'a' * 200_000}", "Connection: close") + b"\r\n"]
    if kind == 1:
        return [head(route, *[f"X-{n}: {n}" for n in range(3000)], "Connection: close") + b"\r\n"]
    return [head(route, "Connection: close", path=route.path + "?" + "q=" + "a" * 100_000) + b"\r\n"]


def bad_chunks(route: Route, rng: random.Random) -> list[bytes]:
    bodies = [
        b"zz\r\nxx\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhel",
        b"5\r\nhello world\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\nx\r\n",
        b"5;ext=" + b"e" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
        b"0\r\nTrailer: x\r\nbad trailer\r\n\r\n",
        b"\r\n\r\n",
        b"5\nhello\n0\n\n",
        noise(rng),
    ]
    lines = ["Transfer-Encoding: chunked", rng.choice([MULTIPART, "Content-Type: application/json"]), "Connection: close"]
    return [head(route, *lines) + b"\r\n" + rng.choice(bodies)]


def cut_body(route: Route, rng: random.Random) -> list[bytes]:
    request = whole(route, PART + good_photos(1)[0][1] + b"\r\n--b--\r\n", MULTIPART)
    return [request[: rng.randrange(20, len(request))]]


def wrong_length(route: Route, rng: random.Random) -> list[bytes]:
    lines = [f"Content-Length: {rng.choice([0, 3, 100_000, 10**15])}", MULTIPART, "Connection: close"]
    return [head(route, *lines) + b"\r\n" + PART + noise(rng)]


def pipelined(route: Route, rng: random.Random) -> list[bytes]:
    first = head(route, "Content-Length: 2", "Content-Type: application/json") + b"\r\n{}"
    return [first * rng.randrange(2, 6) + whole(Route("GET", "/healthz/live"), b"")]


def nul_bytes(route: Route, rng: random.Random) -> list[bytes]:
    request = bytearray(whole(route, b'{"a": 1}', "Content-Type: application/json"))
    for _ in range(rng.randrange(1, 6)):
        request[rng.randrange(len(request))] = 0
    return [bytes(request)]


def flipped_bytes(route: Route, rng: random.Random) -> list[bytes]:
    request = bytearray(whole(route, PART + b"x\r\n--b--\r\n", MULTIPART))
    for _ in range(rng.randrange(1, 12)):
        request[rng.randrange(len(request))] = rng.randrange(256)
    return [bytes(request)]


def in_pieces(route: Route, rng: random.Random) -> list[bytes]:
    request = whole(route, b"{}", "Content-Type: application/json")
    at = sorted(rng.sample(range(1, len(request)), 12))
    return [request[a:b] for a, b in zip([0, *at], [*at, len(request)])]


def bad_multipart(route: Route, rng: random.Random) -> list[bytes]:
    bodies = [
        b"",
        b"--b--\r\n",
        b"--b\r\n\r\n\r\n--b--\r\n",
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="\xff\xfe"; filename="\xc3\x28.jpg"\r\n\r\nx\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="images"; filename="../../etc/passwd"\r\n\r\nx\r\n--b--\r\n',
        b"--b\r\n" + b"X: y\r\n" * 3000 + b"\r\nx\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="options"\r\n\r\n\xff\xff{\x00\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="options"\r\n\r\n' + b"[" * 50_000 + b"\r\n--b--\r\n",
        PART + b"x" * 1000,
        PART * 300 + b"--b--",
        noise(rng),
    ]
    return [whole(route, rng.choice(bodies), MULTIPART)]


def bad_json(route: Route, rng: random.Random) -> list[bytes]:
    bodies = [
        b"",
        b"null",
        b"[]",
        b'"\xff"',
        b'{"a": 1' * 200,
        b"[" * 100_000,
        b'{"capture_id": "\\ud800"}',
        b'{"job_id": "\\u0000"}',
        b'{"files": [{"name": "\\udfff", "bytes": 1e400, "sha256": ""}]}',
        b'{"photos": {"\\ud800.jpg": {}}}',
        b'{"capture_id": ' + b"9" * 5000 + b"}",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        noise(rng),
    ]
    return [whole(route, rng.choice(bodies), "Content-Type: application/json")]


def bad_path(route: Route, rng: random.Random) -> list[bytes]:
    bits = ["%00", "%ff%fe", "%c3%28", "%2e%2e%2f", "%", "%zz", "\xff", "..", "%ed%a0%80", "a" * 3000, "%0d%0aX:%20y", ";", "%25"]
    parts = route.path.split("/")
    parts[rng.randrange(1, len(parts))] = rng.choice(bits)
    query = rng.choice(["", "?wait=%ff", "?cursor=%00", "?limit=9" + "9" * 5000, "?label=%ed%a0%80", "?&&&==", "?wait=nan"])
    return [head(route, "Content-Length: 0", "Connection: close", path="/".join(parts) + query) + b"\r\n"]


MUTATIONS: list[Mutation] = [
    bad_request_line,
    bad_headers,
    huge_headers,
    bad_chunks,
    cut_body,
    wrong_length,
    pipelined,
    nul_bytes,
    flipped_bytes,
    in_pieces,
    bad_multipart,
    bad_json,
    bad_path,
]


def run_all(url: str, rounds: int, seed: int) -> Counter[int]:
    """Do every mutation on every route, several connections at a time; gives how often each status came."""
    rng = random.Random(seed)
    work = [
        Sent(f"{mutation.__name__} {route.method} {route.path} round {number}", mutation(route, rng))
        for number in range(rounds)
        for route in routes(url)
        for mutation in MUTATIONS
        if not (route.path.endswith("/events") and mutation is in_pieces)  # a stream of a job that waits has no end
    ]
    counted: Counter[int] = Counter()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for sent, statuses in zip(work, pool.map(lambda sent: exchange(url, sent), work)):
            wrong = [status for status in statuses if status >= 500 and status not in RIGHT]
            assert not wrong, (sent.name, statuses, sent.pieces[0][:2000])
            counted.update(statuses or [0])
    return counted


@pytest.mark.timeout(240)
def test_no_route_breaks_on_what_is_hardly_http(url: str) -> None:
    counted = run_all(url, 1, 7)
    assert counted[400] > 100, counted  # it read them and refused
    assert counted[200] > 20, counted  # and not because it refuses everything
    assert counted[422] > 20, counted
    assert counted[410] < counted[200], counted  # what it works on is there


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_no_route_breaks_at_length(url: str) -> None:
    for seed in range(20):
        run_all(url, 1, 1000 + seed)


def test_slow_clients_hold_nobody_up(url: str) -> None:
    place, connections = urlsplit(url), []
    for number in range(LORIS):
        connection = socket.create_connection((place.hostname, place.port), timeout=ANSWER_WITHIN_S)
        whose = Route("POST", "/v1/reconstructions") if number % 2 else Route("GET", "/v1/info")
        begun = head(whose, MULTIPART, "Content-Length: 100000")[:-2]  # the last header goes on, a digit at a time
        connection.sendall(begun)
        connections.append(connection)
    for _ in range(5):
        for connection in connections:
            connection.sendall(b"0")
        assert_serves(url)
    for connection in connections:
        connection.close()


def test_headers_without_end_cost_no_memory_without_end(url: str, process: tuple[str, subprocess.Popen[bytes]]) -> None:
    place, before = urlsplit(url), psutil.Process(process[1].pid).memory_info().rss
    sent = 0
    with socket.create_connection((place.hostname, place.port), timeout=ANSWER_WITHIN_S) as connection:
        try:
            connection.sendall(b"GET /v1/info HTTP/1.1\r\nHost: x\r\nX-Long: ")
            while sent < 64 << 20:
                connection.sendall(b"a" * (1 << 20))
                sent += 1 << 20
        except OSError:  # it hung up, as it should
            pass
    assert sent < 32 << 20, "64 MB of one header were taken"
    assert psutil.Process(process[1].pid).memory_info().rss - before < 48 << 20
