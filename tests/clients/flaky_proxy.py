"""A TCP proxy that cuts connections and alters bytes as it is told."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable
from types import TracebackType

Alter = Callable[[bytes], bytes]


SMALL = 4096


class FlakyProxy:
    """Passes everything on until faults are planned; each planned fault hits one connection and is then used up.

    `cuts_up` (client to service) and `cuts_down` are numbers of bytes of a chunk that still pass before the connection is cut.
    Chunks of no more than `SMALL` bytes always pass: requests without a body and short answers.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.cuts_up: list[int] = []
        self.cuts_down: list[int] = []
        self.alter_down: list[Alter] = []
        self.alter_up: list[Alter] = []
        self.cut = 0  # connections that were cut
        self.up_bytes = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> FlakyProxy:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5)

    def cut_all(self) -> None:
        """Cut every connection there is."""
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                try:
                    server = socket.create_connection(("127.0.0.1", self.target_port), 5)
                except OSError:
                    client.close()
                    continue
                self._sockets.append(server)
                self._start(self._pump, client, server, "up")
                self._start(self._pump, server, client, "down")

    def _pump(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 15):
                with self._lock:
                    cuts, alters = (self.cuts_up, self.alter_up) if way == "up" else (self.cuts_down, self.alter_down)
                    cut = cuts.pop(0) if cuts and len(data) > SMALL else None
                    alter = alters.pop(0) if alters and len(data) > SMALL else None
                    self.up_bytes += len(data) if way == "up" else 0
                if cut is not None:
                    self._break_off(source, sink, data[:cut])
                    return
                sink.sendall(alter(data) if alter else data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _break_off(self, source: socket.socket, sink: socket.socket, rest: bytes) -> None:
        sink.sendall(rest)
        self.cut += 1
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def flip_last_byte(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def repeated(cut: int, times: int) -> list[int]:
    return list(itertools.repeat(cut, times))
