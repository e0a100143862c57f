"""A receiver of webhooks for tests: it believes nobody, and can be told to fail, stall, close, drip, redirect or flood."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook as Verifier

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the specification's own examples


@dataclass
class Received:
    """One request that came whole."""

    at: float
    path: str
    headers: dict[str, str]  # names in small letters
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def sequence(self) -> int:
        return int(self.event["data"]["sequence"])

    def verify(self, secret: str = SECRET) -> dict[str, Any]:
        """Check the signature as any receiver would; raises WebhookVerificationError."""
        return dict(Verifier(secret).verify(self.body, self.headers))


@dataclass
class Receiver:
    """What to answer, one entry a request, the last for ever: a status, or the name of a misbehaviour."""

    url: str
    port: int
    script: list[int | str] = field(default_factory=lambda: [200])
    received: list[Received] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)  # that TLS asked for (SNI)
    connections: int = 0

    def next(self) -> int | str:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def ids(self) -> list[str]:
        return [each.id for each in self.received]


@contextlib.contextmanager
def receiver(tls: ssl.SSLContext | None = None, name: str = "127.0.0.1") -> Iterator[Receiver]:
    """Run a receiver on a free loopback port."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    made = Receiver(f"{'https' if tls else 'http'}://{name}:{port}/hook", port)
    if tls is not None:
        tls.sni_callback = lambda _socket, asked, _context: made.names.append(asked)
    thread = threading.Thread(target=_accept, args=(listener, made, tls), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # closing alone would leave the thread in `accept`
        listener.close()


def _accept(listener: socket.socket, made: Receiver, tls: ssl.SSLContext | None) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        made.connections += 1
        threading.Thread(target=_serve, args=(connection, made, tls), daemon=True).start()


def _serve(connection: socket.socket, made: Receiver, tls: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError), connection:
        connection.settimeout(20)
        stream = tls.wrap_socket(connection, server_side=True) if tls else connection
        with stream, stream.makefile("rb") as reader:
            made.received.append(_read(reader))
            _answer(stream, made.next())


def _read(reader: Any) -> Received:
    path = reader.readline().split()[1].decode()
    headers: dict[str, str] = {}
    while line := reader.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return Received(time.monotonic(), path, headers, reader.read(int(headers["content-length"])))


def _answer(stream: socket.socket, what: int | str) -> None:
    if isinstance(what, int):
        stream.sendall(f"HTTP/1.1 {what} X\r\nContent-Length: 2\r\n\r\nok".encode())
    elif what == "stall":
        time.sleep(20)
    elif what == "drip":  # a byte now and then, so that no read ever times out
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 400:
            stream.sendall(bytes([byte]))
            time.sleep(0.05)
    elif what == "early hints":  # for ever
        while True:
            stream.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            time.sleep(0.02)
    elif what == "flood":  # a body without end
        stream.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            stream.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
    elif what == "endless header":
        stream.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            stream.sendall(b"x" * 65536)
    elif what == "garbage":
        stream.sendall(b"\x00\x01\x02 no HTTP at all\r\n\r\n")
    elif what.startswith("redirect "):
        stream.sendall(f"HTTP/1.1 307 Go\r\nLocation: {what.removeprefix('redirect ')}\r\nContent-Length: 0\r\n\r\n".encode())
    else:
        assert what == "close"
