"""Around every request: its id, its log line, its numbers, HEAD and OPTIONS, and the answer when something of ours breaks."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import Any

from fastapi import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.adapters.json_logs import log_facts
from services.api.allowed_methods import allowed_methods
from services.api.logs import ACCESS_LOG, ERROR_LOG
from services.api.metrics import Metrics
from services.api.problems import internal_error, problem_response
from services.contract.ids import new_id

HEAD_FLAG = "m3r.head"  # in the scope of a HEAD request, which routes see as GET
ANSWER_HEADERS = "answer_headers"  # in the request's state: headers for its answer, whatever it will be
CLIENT_CLOSED = 499  # in the logs: the client left before the answer
DRAIN_BYTES = 64 << 20  # of a refused body that are read, so that the client sees the answer
DRAIN_S = 5.0
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class RequestFrame:
    """ASGI middleware, the outermost one."""

    def __init__(self, app: ASGIApp, metrics: Metrics, root_path: str) -> None:
        self.app = app
        self.metrics = metrics
        self.root_path = root_path.rstrip("/")  # a proxy's prefix, whether it strips it or not

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Frame an HTTP request; let everything else pass."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = dict(scope)  # the server goes by its own: it must know that HEAD was asked
        scope["root_path"] = self.root_path
        answer = _Answer(scope, receive, send)
        with log_facts(request_id=answer.request_id):
            try:
                await self._serve(scope, answer)
            except ClientDisconnect:
                answer.status = CLIENT_CLOSED
            except Exception:
                ERROR_LOG.exception("unhandled error", extra={"request_id": answer.request_id, "path": scope["path"]})
                await answer.fail()
            finally:
                self._note(scope, answer)

    async def _serve(self, scope: Scope, answer: _Answer) -> None:
        preflight = "access-control-request-method" in Headers(scope=scope)
        methods = allowed_methods(scope) if answer.method == "OPTIONS" and not preflight else []
        if methods:
            response = Response(status_code=204, headers={"Allow": ", ".join(methods)})
            await response(scope, answer.receive, answer.send)
        else:
            await self.app(scope, answer.receive, answer.send)

    def _note(self, scope: Scope, answer: _Answer) -> None:
        seconds = time.perf_counter() - answer.started
        route = getattr(scope.get("route"), "path", "unmatched")
        method = answer.method if answer.method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH") else "other"
        self.metrics.requests.labels(method, route, answer.status).inc()
        self.metrics.seconds.labels(method, route).observe(seconds)
        facts: dict[str, Any] = {
            "request_id": answer.request_id,
            "method": answer.method,
            "path": scope["path"],
            "route": route,
            "status": answer.status,
            "seconds": round(seconds, 4),
            "bytes_in": answer.bytes_in,
            "job_id": scope.get("path_params", {}).get("job_id"),
            "client": scope["client"][0] if scope.get("client") else None,
        }
        ACCESS_LOG.info("request", extra=facts)


class _Answer:
    """One request's way out: adds the request id, counts, and keeps a HEAD answer without a body."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._headers = Headers(scope=scope)
        given = self._headers.get("x-request-id", "")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else new_id("req")
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.started = time.perf_counter()
        self.status = CLIENT_CLOSED
        self.bytes_in = 0
        self._receive = receive
        self._send = send
        self._begun = self._ended = self._body_read = False
        self._state: dict[str, Any] = scope.setdefault("state", {})
        self._state["request_id"] = self.request_id
        if self.method == "HEAD":
            scope["method"] = "GET"
            scope[HEAD_FLAG] = True

    async def receive(self) -> Message:
        message = await self._receive()
        self.bytes_in += len(message.get("body", b""))
        self._body_read = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            self.status = message["status"]
            if self.status >= 400:
                await self._drain()
            headers = MutableHeaders(raw=message["headers"])
            headers["X-Request-Id"] = self.request_id
            headers.update(self._state.get(ANSWER_HEADERS, {}))
        elif self.method == "HEAD" and message["type"] == "http.response.body":
            if self._ended:
                return
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        self._ended = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)

    async def _drain(self) -> None:
        """Read the rest of a refused body, within bounds: a connection closed on unread bytes may lose the answer."""
        length = self._headers.get("content-length", "")
        waits = self._headers.get("expect", "").lower() == "100-continue" and self.bytes_in == 0
        has_body = "transfer-encoding" in self._headers or length.strip("0") != ""
        if not has_body or waits or (length.isdecimal() and int(length) > DRAIN_BYTES):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while not self._body_read and self.bytes_in <= DRAIN_BYTES:
                    await self.receive()

    async def fail(self) -> None:
        """Answer 500, or break off when the answer has begun: a cut connection is honest, a whole-looking answer is not."""
        if self._begun:
            return
        response = problem_response(internal_error(self.request_id), self.path, self.request_id)
        await response({"type": "http", "method": self.method}, self._receive, self.send)
