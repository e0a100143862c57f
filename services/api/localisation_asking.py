"""A query on its way to the localisation worker and back, never beyond its deadline."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from fastapi import Response

from services.adapters.localisation_client import QueryRefused
from services.api.problems import ProblemError, invalid_field
from services.api.wiring import Services
from services.contract.codes import ProblemCode
from services.contract.localisation import LocalizeAnswer
from services.contract.localisation_messages import QueryMessage, Reply, ReplyProblem
from services.contract.problems import FieldError

RETRY_AFTER_S = 5


def deadline_of(asked_ms: int | None, services: Services) -> int:
    """Milliseconds that a query may take; raises ProblemError beyond the limit."""
    limit = services.settings.localisation_max_deadline_ms
    if asked_ms is not None and asked_ms > limit:
        raise invalid_field("/deadline_ms", f"{asked_ms}; at most {limit} milliseconds")
    return asked_ms if asked_ms is not None else services.settings.localisation_deadline_ms


async def ask(
    services: Services, message: QueryMessage, parts: Mapping[str, bytes], deadline_ms: int, started: float
) -> Response:
    """Have a query answered; `started` is when its request came (time.perf_counter).

    Raises:
        ProblemError: 503 when no worker lives or the deadline cannot be met; else what the worker says.
    """
    try:
        answer = await _ask_in_time(services, message, parts, deadline_ms, started)
    except ProblemError as problem:
        services.metrics.localised.labels(problem.code.value).inc()
        raise
    services.metrics.localised.labels("localised" if answer.localized else "not_localised").inc()
    timing = answer.timing_ms.model_copy(update={"total": round(1000 * (time.perf_counter() - started), 3)})
    body = answer.model_copy(update={"timing_ms": timing}).model_dump_json()
    return Response(body, 200, {"Cache-Control": "no-store"}, "application/json")


async def _ask_in_time(
    services: Services, message: QueryMessage, parts: Mapping[str, bytes], deadline_ms: int, started: float
) -> LocalizeAnswer:
    left_ms = deadline_ms - round(1000 * (time.perf_counter() - started))
    if left_ms <= 0:
        raise _refusal(QueryRefused("too_late"), deadline_ms)
    try:
        reply = await services.localisation.ask(message, parts, left_ms)
    except QueryRefused as refused:
        raise _refusal(refused, deadline_ms) from None
    return _unwrap(reply)


def _unwrap(reply: Reply) -> LocalizeAnswer:
    if reply.answer is not None:
        return reply.answer
    problem = reply.problem
    assert problem is not None
    raise _problem(problem)


def _problem(problem: ReplyProblem) -> ProblemError:
    errors = [FieldError(pointer=problem.pointer, message=problem.detail)] if problem.pointer is not None else []
    headers = {} if problem.retry_after_s is None else {"Retry-After": str(problem.retry_after_s)}
    return ProblemError(
        problem.status, problem.code, problem.detail, errors, headers, retryable=problem.retry_after_s is not None
    )


def _refusal(refused: QueryRefused, deadline_ms: int) -> ProblemError:
    if refused.reason == "no_worker":
        detail = f"no localisation worker is ready; it starts, or the operator has none. Try again in {RETRY_AFTER_S} seconds"
        return _unavailable(ProblemCode.LOCALISATION_UNAVAILABLE, detail, RETRY_AFTER_S)
    wait_s = max(1, math.ceil(refused.wait_ms / 1000))
    details = {
        "late": f"the queries that wait take about {refused.wait_ms:.0f} ms, the deadline is {deadline_ms} ms",
        "full": "as many queries wait as may",
        "too_late": f"the query was not answered within its deadline of {deadline_ms} ms",
    }
    detail = f"{details[refused.reason]}; try again in {wait_s} s, or with a longer deadline_ms"
    return _unavailable(ProblemCode.DEADLINE_NOT_MET, detail, wait_s)


def _unavailable(code: ProblemCode, detail: str, retry_after_s: int) -> ProblemError:
    return ProblemError(503, code, detail, headers={"Retry-After": str(retry_after_s)}, retryable=True)
