"""A refused request: problem details (RFC 9457) with the members every answer of ours carries."""

from __future__ import annotations

from pydantic import Field

from services.contract.codes import ProblemCode
from services.contract.jobs import Model

PROBLEM_MEDIA_TYPE = "application/problem+json"


class FieldError(Model):
    """One thing that is wrong, and where."""

    pointer: str  # JSON pointer (RFC 6901) into the request: "/options/matching/subsample", "/images/3"
    message: str


class Problem(Model):
    """Why a request was refused, or why the service could not answer it."""

    type: str  # "urn:m3r:problem:<code>"
    title: str
    status: int
    detail: str
    instance: str  # path of the request
    code: ProblemCode
    request_id: str
    retryable: bool  # the same request may succeed later
    errors: list[FieldError] = Field(default_factory=list)
