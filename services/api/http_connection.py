"""The server's side of a connection, with bounds that uvicorn leaves to a proxy: size and time of a request's head."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from services.api.problems import ProblemError, problem_response
from services.contract.codes import ProblemCode
from services.contract.ids import new_id

MAX_HEAD_BYTES = 64 * 1024  # request line and headers; what comes in one read may exceed it
HEAD_WITHIN_S = 30.0  # from its first byte, or from the connection's begin
_LINES = {400: b"HTTP/1.1 400 Bad Request\r\n", 431: b"HTTP/1.1 431 Request Header Fields Too Large\r\n"}


class BoundedConnection(HttpToolsProtocol):
    """Refuses heads without end, hangs up on those that come too slowly, and refuses in the form of every other refusal."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_bytes = 0
        self._in_head = True
        self._asked: list[RequestResponseCycle] = []  # requests without a whole answer, several where they are pipelined
        self._hang_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._hang_up = self.loop.call_later(HEAD_WITHIN_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        self._give_up()

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data) if self._in_head else 0
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, f"request line and headers have more than {MAX_HEAD_BYTES} bytes, the limit")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        if self._hang_up is None:
            self._hang_up = self.loop.call_later(HEAD_WITHIN_S, self.transport.close)

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._stop_waiting()
        super().on_headers_complete()
        self._asked = [cycle for cycle in self._asked if not cycle.response_complete] + [self.cycle]

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it names the parser, not what is wrong
        self._refuse(400, "this is no HTTP request")

    def _refuse(self, status: int, why: str) -> None:
        """Answer and hang up. A request before it on the connection that has no answer yet counts as given up by its client."""
        if not self._give_up():
            request_id = new_id("req")
            response = problem_response(ProblemError(status, ProblemCode.INVALID_REQUEST, why), "", request_id)
            headers = [*response.raw_headers, (b"x-request-id", request_id.encode()), (b"connection", b"close")]
            lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
            self.transport.write(_LINES[status] + lines + b"\r\n" + bytes(response.body))
        self.transport.close()

    def _give_up(self) -> bool:
        """Let requests at work know that their client is gone: nothing may be written to a connection that is being closed."""
        left = [cycle for cycle in self._asked if not cycle.response_complete]
        for cycle in left:
            cycle.disconnected = True
            cycle.message_event.set()
        return bool(left)

    def _stop_waiting(self) -> None:
        if self._hang_up is not None:
            self._hang_up.cancel()
            self._hang_up = None
