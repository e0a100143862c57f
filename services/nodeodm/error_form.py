"""Refusals in this protocol's form: `{"error": "…"}`, with status 200 where the request was understood and is refused."""

from __future__ import annotations

import redis
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.adapters.objects import ObjectStoreError
from services.adapters.queue import QueueUnavailable
from services.api.logs import ERROR_LOG
from services.api.problems import ProblemError, describe_store_error

# What clients of this protocol look at the status for; every other refusal they read from a 200.
TOLD_BY_STATUS = frozenset({401, 403, 429, 500, 503, 507})
MAX_CHARACTERS = 1000


def error_answer(message: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with an error."""
    return JSONResponse({"error": message[:MAX_CHARACTERS]}, status, {"Cache-Control": "no-store", **(headers or {})})


def refusal_answer(error: ProblemError) -> Response:
    """Answer with one of the API's refusals."""
    headers = {name: value for name, value in error.headers.items() if name == "Retry-After"}
    return error_answer(error.detail, error.status if error.status in TOLD_BY_STATUS else 200, headers)


def install_error_form(app: FastAPI) -> None:
    """Answer every kind of refusal in this form."""

    async def answer_problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return refusal_answer(error)

    async def answer_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return error_answer(f"{request.method} {request.url.path}: {error.detail}", error.status_code, dict(error.headers or {}))

    async def answer_invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return error_answer("; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors()))

    async def answer_store_error(request: Request, error: Exception) -> Response:
        ERROR_LOG.warning("%s: %s", type(error).__name__, error, extra={"request_id": request.state.request_id})
        return refusal_answer(describe_store_error(error))

    for kind in (ObjectStoreError, redis.RedisError, QueueUnavailable):
        app.add_exception_handler(kind, answer_store_error)
    app.add_exception_handler(ProblemError, answer_problem)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)


class UnexpectedErrors:
    """ASGI middleware inside the request frame: what nobody thought of is logged, and answered in this form too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, note)
        except ClientDisconnect:
            raise
        except Exception:
            if scope["type"] != "http" or begun:
                raise
            request_id = scope["state"]["request_id"]
            ERROR_LOG.exception("unhandled error", extra={"request_id": request_id, "path": scope["path"]})
            await error_answer(f"an error on our side; it is logged under request id {request_id}", 500)(scope, receive, send)
