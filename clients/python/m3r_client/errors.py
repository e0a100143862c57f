"""What can go wrong, by name.

M3rError
├── ConnectionLost        no answer came, however often it was tried
├── UnexpectedAnswer      an answer that this service does not give (a proxy's page, say)
├── Refused               the service said no, and why (RFC 9457)
│   ├── InvalidRequest    400, 415, 422 …: the request is wrong; `errors` points to what
│   ├── Unauthorized      401: the key is missing, wrong, revoked or expired
│   ├── Forbidden         403: the key does not allow this
│   ├── NotFound          404
│   ├── Conflict          409: what is there does not allow it
│   ├── Gone              410: deleted, or its time is over
│   ├── TooLarge          413
│   ├── RateLimited       429; `retry_after` says when
│   └── Unavailable       5xx: the service cannot answer now
├── JobNotSucceeded       the job ended otherwise; `job` says how
├── WaitTimeout           the job has not ended in the time that was given
└── CorruptDownload       the bytes that came are not the bytes that were promised
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m3r_client.answers import FieldError, Job


class M3rError(Exception):
    """Base of everything this package raises on purpose."""


class ConnectionLost(M3rError):
    """No answer came."""


class UnexpectedAnswer(M3rError):
    """Something answered that is not the service."""


class CorruptDownload(M3rError):
    """A file is not what the service says it is."""


class WaitTimeout(M3rError):
    """The job goes on; only the waiting ended."""


class JobNotSucceeded(M3rError):
    """A job failed, was canceled, or expired."""

    def __init__(self, job: Job) -> None:
        reason = f": {job.error.code}: {job.error.message}" if job.error else ""
        super().__init__(f"job {job.id} is {job.status}{reason}")
        self.job = job


class Refused(M3rError):
    """The service refused a request. `str()` is one line a person can read."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        request_id: str = "",
        retryable: bool = False,
        retry_after: float | None = None,
        errors: Sequence[FieldError] = (),
    ) -> None:
        more = "; ".join(f"{error.pointer} {error.message}".strip() for error in errors)
        super().__init__(f"{status} {code}: {detail}" + (f" ({more})" if more else ""))
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.retryable = retryable
        self.retry_after = retry_after  # seconds
        self.errors = tuple(errors)


class InvalidRequest(Refused):
    """The request is wrong; sending it again changes nothing."""


class Unauthorized(Refused):
    """No key, or one that is not valid (any more)."""


class Forbidden(Refused):
    """The key is valid and does not allow this."""


class NotFound(Refused):
    """There is no such thing, or it is another tenant's."""


class Conflict(Refused):
    """The state of what is there does not allow it."""


class Gone(Refused):
    """It was deleted, or its time is over."""


class TooLarge(Refused):
    """Beyond a limit in bytes."""


class RateLimited(Refused):
    """Too much at a time."""


class Unavailable(Refused):
    """The service cannot answer now."""


_BY_STATUS: Mapping[int, type[Refused]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: TooLarge,
    429: RateLimited,
}


def make_refusal(status: int, problem: Mapping[str, Any], retry_after: float | None, errors: Sequence[FieldError]) -> Refused:
    """Make the error of an answer's status and problem document."""
    kind = _BY_STATUS.get(status, Unavailable if status >= 500 else InvalidRequest)
    return kind(
        status,
        str(problem.get("code") or "unknown"),
        str(problem.get("detail") or problem.get("title") or ""),
        str(problem.get("request_id") or ""),
        problem.get("retryable") is True,
        retry_after,
        errors,
    )
