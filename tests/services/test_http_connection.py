"""Bounds of a connection: the size and time of a request's head, and refusals of what is no HTTP in the form of all others."""

from __future__ import annotations

import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from services.api import http_connection
from tests.services.api_stand import Api, api

__all__ = ["api"]


def connect(api: Api) -> socket.socket:
    place = urlsplit(api.url)
    return socket.create_connection((place.hostname, place.port), timeout=30)


def read_all(connection: socket.socket) -> bytes:
    got = b""
    while chunk := connection.recv(65536):
        got += chunk
    return got


def problem(answer: bytes, status: int) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert int(headers["content-length"]) == len(body)
    told: dict[str, Any] = json.loads(body)
    assert (told["status"], told["code"], told["request_id"]) == (status, "invalid_request", headers["x-request-id"])
    return told


def test_what_is_no_http_is_refused_as_a_problem(api: Api) -> None:
    with connect(api) as connection:
        connection.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        problem(read_all(connection), 400)


def test_a_head_without_end_is_refused_as_a_problem(api: Api) -> None:
    with connect(api) as connection:
        connection.sendall(b"GET /v1/info HTTP/1.1\r\nHost: x\r\nX-Long: ")
        connection.sendall(b"a" * (http_connection.MAX_HEAD_BYTES + 1000))
        assert str(http_connection.MAX_HEAD_BYTES) in problem(read_all(connection), 431)["detail"]


def test_a_large_head_within_the_bound_is_read(api: Api) -> None:
    with connect(api) as connection:
        long = b"a" * (http_connection.MAX_HEAD_BYTES - 1000)
        for _ in range(3):  # the bound is of each request, not of the connection
            connection.sendall(b"GET /healthz/live HTTP/1.1\r\nHost: x\r\nX-Long: " + long + b"\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_head_that_comes_too_slowly_ends_the_connection(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "HEAD_WITHIN_S", 0.5)
    began = time.monotonic()
    with connect(api) as silent, connect(api) as slow, connect(api) as kept:
        slow.sendall(b"GET /v1/info HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        kept.sendall(b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept.recv(65536).startswith(b"HTTP/1.1 200 ")
        kept.sendall(b"GET /v1")
        assert [read_all(each) for each in (silent, slow, kept)] == [b"", b"", b""]
    assert time.monotonic() - began >= 0.4


def test_a_body_may_come_slowly(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "HEAD_WITHIN_S", 0.3)
    with connect(api) as connection:
        head = b"POST /v1/maps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\n"
        connection.sendall(head + b"Connection: close\r\n\r\n")
        for letter in b"null":
            time.sleep(0.2)
            connection.sendall(bytes([letter]))
        assert read_all(connection).startswith(b"HTTP/1.1 422 ")
