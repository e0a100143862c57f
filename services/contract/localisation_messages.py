"""What API and localisation worker say to each other about one query."""

from __future__ import annotations

from pydantic import Field

from services.contract.codes import ProblemCode
from services.contract.jobs import Model
from services.contract.localisation import CameraIntrinsics, LocalizeAnswer, Matrix4, Prior
from services.contract.localisation_records import MapRecord

QUERY_PART = "image"


class ReferenceMessage(Model):
    """One reference of a query: kept under its id, or sent along as a part."""

    id: str | None = None
    part: str | None = None
    name: str
    intrinsics: CameraIntrinsics | None = None
    pose: Matrix4 | None = None


class QueryMessage(Model):
    """One query; the bytes of its photographs are parts beside it."""

    id: str
    request_id: str = ""  # for the logs
    intrinsics: CameraIntrinsics | None = None
    references: list[ReferenceMessage] = Field(default_factory=list)
    maps: list[MapRecord] = Field(default_factory=list)
    prior: Prior | None = None


class ReplyProblem(Model):
    """Why a query has no answer."""

    status: int
    code: ProblemCode
    detail: str
    pointer: str | None = None
    retry_after_s: int | None = None


class Reply(Model):
    """What became of a query: one of the two is set."""

    id: str
    answer: LocalizeAnswer | None = None
    problem: ReplyProblem | None = None
