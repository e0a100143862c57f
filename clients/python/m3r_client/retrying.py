"""Sending a request until it is answered: waits that grow, spread by chance, and never shorter than the service asks for."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from m3r_client.answers import FieldError
from m3r_client.errors import ConnectionLost, M3rError, Refused, UnexpectedAnswer, make_refusal
from m3r_client.steps import Broken, Pause, Reply, Request, Steps

REDIRECTS = frozenset({301, 302, 303, 307, 308})
PASSING = frozenset({408, 425, 429, 502, 503, 504})
PASSING_CODES = frozenset({"request_in_flight", "digest_mismatch", "incomplete_body"})


@dataclass(frozen=True)
class RetryPolicy:
    """How patient a client is."""

    first_s: float = 0.3  # the first wait; each further one may be twice as long
    longest_s: float = 10.0
    patience_s: float = 60.0  # counted anew whenever something has succeeded
    spread: Callable[[], float] = random.random  # in [0, 1)
    clock: Callable[[], float] = field(default=time.monotonic)


class Patience:
    """How long one piece of work may go on failing."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._failures = 0
        self._since: float | None = None

    def renew(self) -> None:
        """Something has succeeded."""
        self._failures, self._since = 0, None

    def next_wait(self, error: M3rError, retry_after: float | None = None) -> float:
        """Seconds to wait before the next try; raises `error` when the patience is over or would be by then."""
        policy = self._policy
        now = policy.clock()
        self._since = now if self._since is None else self._since
        ceiling = min(policy.first_s * 2**self._failures, policy.longest_s)
        # At least half of it, so that a service that comes up again is not met by everyone at once, nor by one client in a row.
        wait: float = max(ceiling * (0.5 + 0.5 * policy.spread()), retry_after or 0.0)
        self._failures = min(self._failures + 1, 30)
        if now + wait - self._since > policy.patience_s:
            raise error
        return wait


def send(request: Request, policy: RetryPolicy) -> Steps[Reply]:
    """Send a request until it is answered; gives an answer below 400.

    Raises:
        Refused: the service said no, and would again, or for longer than the patience lasts.
        ConnectionLost: no answer came.
        UnexpectedAnswer: a redirect; a key is not sent to places that nobody named.
    """
    patience = Patience(policy)
    while True:
        answer: Reply | Broken = yield request
        if isinstance(answer, Reply) and answer.status < 400:
            if answer.status in REDIRECTS:
                place = answer.headers.get("location", "elsewhere")
                raise UnexpectedAnswer(
                    f"{request.method} {request.path} leads to {place}; give the client the URL of the service itself"
                )
            return answer
        yield Pause(wait_after(answer, request, patience))


def wait_after(answer: Reply | Broken, request: Request, patience: Patience) -> float:
    """Seconds until a failed request is worth sending again; raises what it failed with when it is not."""
    if isinstance(answer, Broken):
        lost = ConnectionLost(f"{request.method} {request.path}: {answer.reason}")
        if answer.sent and not request.repeatable:
            raise ConnectionLost(f"{lost}; it may have been done: look before you ask again")
        return patience.next_wait(lost)
    refusal = read_refusal(answer)
    if answer.status not in PASSING and refusal.code not in PASSING_CODES:
        raise refusal
    return patience.next_wait(refusal, refusal.retry_after)


def read_refusal(answer: Reply) -> Refused:
    """Make an error of a refusal, whoever wrote it."""
    problem = _problem(answer)
    errors = [FieldError(str(e.get("pointer", "")), str(e.get("message", ""))) for e in problem.get("errors") or ()]
    return make_refusal(answer.status, problem, _seconds(answer.headers.get("retry-after")), errors)


def read_json(answer: Reply) -> Any:
    """Read a JSON answer; raises UnexpectedAnswer."""
    try:
        return json.loads(answer.body)
    except ValueError:
        raise UnexpectedAnswer(f"{answer.status} with a body that is not JSON: {answer.body[:80]!r}") from None


def _problem(answer: Reply) -> Mapping[str, Any]:
    try:
        problem = json.loads(answer.body)
    except ValueError:
        problem = None
    if isinstance(problem, dict):
        return problem
    return {"code": "unknown", "detail": answer.body[:200].decode("utf-8", "replace") or "an answer without a body"}


def _seconds(header: str | None) -> float | None:
    """Read `Retry-After`; a date there (as proxies may send) counts as not said."""
    return float(header) if header is not None and header.strip().isdecimal() else None
