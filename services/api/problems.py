"""Every refusal as a problem document (RFC 9457): the one error, the one place that turns errors into answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import redis
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from services.adapters.job_store import JobNotFound
from services.adapters.objects import ObjectStoreError, OutOfSpace
from services.adapters.queue import QueueUnavailable
from services.api.allowed_methods import allowed_methods
from services.api.logs import ERROR_LOG
from services.contract.codes import ProblemCode
from services.contract.problems import PROBLEM_MEDIA_TYPE, FieldError, Problem

RETRY_AFTER_S = 5

_CODES_BY_STATUS = {
    400: ProblemCode.INVALID_REQUEST,
    401: ProblemCode.UNAUTHORIZED,
    403: ProblemCode.FORBIDDEN,
    404: ProblemCode.NOT_FOUND,
    405: ProblemCode.METHOD_NOT_ALLOWED,
    406: ProblemCode.NOT_ACCEPTABLE,
    409: ProblemCode.CONFLICT,
    410: ProblemCode.GONE,
    413: ProblemCode.TOO_LARGE,
    415: ProblemCode.UNSUPPORTED_MEDIA_TYPE,
    416: ProblemCode.RANGE_NOT_SATISFIABLE,
    422: ProblemCode.INVALID_REQUEST,
    429: ProblemCode.RATE_LIMITED,
    500: ProblemCode.INTERNAL,
    503: ProblemCode.STORAGE_UNAVAILABLE,
    507: ProblemCode.INSUFFICIENT_STORAGE,
}


class ProblemError(Exception):
    """A request that is refused; the only error routes raise on purpose."""

    def __init__(
        self,
        status: int,
        code: ProblemCode,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})
        self.retryable = retryable


def unavailable(what: str) -> ProblemError:
    """A store that does not answer: nothing was accepted, try again."""
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    detail = f"{what} does not answer; nothing was changed, try again in {RETRY_AFTER_S} seconds"
    return ProblemError(503, ProblemCode.STORAGE_UNAVAILABLE, detail, headers=headers, retryable=True)


def invalid_field(pointer: str, message: str, code: ProblemCode = ProblemCode.INVALID_REQUEST) -> ProblemError:
    """One field of the request is wrong."""
    return ProblemError(422, code, f"{pointer.lstrip('/')}: {message}", [FieldError(pointer=pointer, message=message)])


def problem_response(error: ProblemError, path: str, request_id: str) -> Response:
    """Write a refusal as `application/problem+json`."""
    problem = Problem(
        type=f"urn:m3r:problem:{error.code.value}",
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        detail=error.detail,
        instance=path,
        code=error.code,
        request_id=request_id,
        retryable=error.retryable,
        errors=error.errors,
    )
    headers = {"Cache-Control": "no-store", **error.headers}
    return Response(problem.model_dump_json(), error.status, headers, PROBLEM_MEDIA_TYPE)


def internal_error(request_id: str) -> ProblemError:
    """What a client hears of an error of ours: nothing but where to find it."""
    return ProblemError(500, ProblemCode.INTERNAL, f"an error on our side; it is logged under request id {request_id}")


def describe_store_error(error: Exception) -> ProblemError:
    """What a client hears when a store fails it."""
    if isinstance(error, OutOfSpace):
        detail = "the store has no room left; try again when older jobs have been deleted"
        return ProblemError(507, ProblemCode.INSUFFICIENT_STORAGE, detail, retryable=True)
    return unavailable("the object store" if isinstance(error, ObjectStoreError) else "the job store")


def install_error_handlers(app: FastAPI) -> None:
    """Answer every kind of refusal, ours and the framework's, as a problem document."""

    async def answer_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return _respond(request, error)

    async def answer_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _CODES_BY_STATUS.get(error.status_code, ProblemCode.INVALID_REQUEST)
        detail = f"{request.method} {request.url.path}: {error.detail}"
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(allowed_methods(request.scope))
        return _respond(request, ProblemError(error.status_code, code, detail, headers=headers))

    async def answer_invalid_request(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = [FieldError(pointer=json_pointer(e["loc"]), message=str(e["msg"])) for e in error.errors()]
        detail = "; ".join(f"{e.pointer.lstrip('/')}: {e.message}" for e in errors)
        return _respond(request, ProblemError(422, ProblemCode.INVALID_REQUEST, detail, errors))

    async def answer_store_error(request: Request, error: Exception) -> Response:
        ERROR_LOG.warning("%s: %s", type(error).__name__, error, extra={"request_id": request.state.request_id})
        return _respond(request, describe_store_error(error))

    for kind in (ObjectStoreError, redis.RedisError, QueueUnavailable, JobNotFound):  # the last: Redis has lost it a moment ago
        app.add_exception_handler(kind, answer_store_error)
    app.add_exception_handler(ProblemError, answer_problem)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(RequestValidationError, answer_invalid_request)


def json_pointer(parts: Sequence[object]) -> str:
    """Write a path as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _respond(request: Request, error: ProblemError) -> Response:
    return problem_response(error, request.url.path, request.state.request_id)
