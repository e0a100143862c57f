"""A TCP proxy in front of a server: passes everything, or is away, stalls, is slow, or cuts connections in the middle."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from types import TracebackType

BLOCK_BYTES = 16 * 1024
LOOK_EVERY_S = 0.02


class TcpProxy:
    """Listens on a loopback port of its own; what it does to connections may be changed at any time."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._ended = False
        self._away = self._stalled = False
        self._bytes_a_second: float | None = None
        self._cut_after: int | None = None
        self._carried: Counter[socket.socket] = Counter()  # bytes from each end since `cut_after`
        self.cuts = 0
        self.passed = 0  # bytes towards the server, of all connections
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """As clients of an HTTP server behind it reach it."""
        return f"http://127.0.0.1:{self.port}"

    def heal(self) -> None:
        """Pass everything again."""
        self._away = self._stalled = False
        self._bytes_a_second = self._cut_after = None

    def go_away(self) -> None:
        """Break all connections and every new one, as a server that was killed."""
        self._away = True
        self._break_all()

    def stall(self) -> None:
        """Accept connections and bytes, but pass nothing on: what a client waits for never comes."""
        self._stalled = True

    def slow_down(self, bytes_a_second: float) -> None:
        """Pass so many bytes a second per connection and direction."""
        self._bytes_a_second = bytes_a_second

    def cut_after(self, count: int) -> None:
        """Break the first connection that carries more than so many bytes one way, from now on."""
        self._carried.clear()
        self._cut_after = count

    def close(self) -> None:
        """End it."""
        self._ended = True
        self._listener.close()
        self._break_all()

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                if self._away:
                    _reset(client)
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
                except OSError:
                    _reset(client)
                    continue
                server.settimeout(None)
                with self._lock:
                    self._open |= {client, server}
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(BLOCK_BYTES):
                while self._stalled and not self._ended:
                    time.sleep(LOOK_EVERY_S)
                if self._cut_after is not None and self._carried[source] + len(block) > self._cut_after:
                    sink.sendall(block[: self._cut_after - self._carried[source]])
                    self._cut_after = None
                    self.cuts += 1
                    break
                self._send(source, sink, block)
                self._carried[source] += len(block)
            else:
                sink.shutdown(socket.SHUT_WR)
                return
        self._break(source, sink)

    def _send(self, source: socket.socket, sink: socket.socket, block: bytes) -> None:
        while block:
            rate = self._bytes_a_second
            size = len(block) if rate is None else max(1, int(rate / 20))
            sink.sendall(block[:size])
            block = block[size:]
            if source.getsockname()[1] == self.port:
                self.passed += size
            if rate is not None:
                time.sleep(size / rate)

    def _break_all(self) -> None:
        with self._lock:
            connections = list(self._open)
        self._break(*connections)

    def _break(self, *connections: socket.socket) -> None:
        with self._lock:
            self._open -= set(connections)
        for connection in connections:
            _reset(connection)


def _reset(connection: socket.socket) -> None:
    """Close with a reset, and wake whoever reads from it."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
