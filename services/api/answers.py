"""Answers that several routes give: a job, and the refusals as the OpenAPI document lists them."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from services.api.job_snapshot import JobSnapshot, entity_tag
from services.contract.problems import Problem

_MEANINGS = {
    400: "The request cannot be read",
    401: "The API key is missing or wrong",
    403: "The API key may not do this",
    404: "There is no such thing",
    408: "The body stopped coming",
    409: "What is there does not allow it: its state, or a request that is still at work",
    410: "It was deleted, or its time is over",
    413: "Beyond a limit in bytes",
    415: "Not a media type this route takes",
    416: "The range lies outside the file",
    422: "The request is wrong; `errors` points to what",
    429: "The tenant has sent too many requests, or has as much as it may; `Retry-After` says when to come back",
    500: "An error on our side",
    503: "A store does not answer; nothing was changed",
    507: "The store has no room",
}

# What can be done with the job that an answer holds (OpenAPI links; tools follow them).
JOB_LINKS: dict[str, Any] = {
    operation: {"operationId": operation, "parameters": {"job_id": "$response.body#/id"}}
    for operation in (
        "getJob",
        "cancelJob",
        "retryJob",
        "deleteJob",
        "streamJobEvents",
        "listArtifacts",
        "downloadArtifacts",
        "listDeliveries",
        "getJobLinks",
    )
} | {"createMap": {"operationId": "createMap", "requestBody": {"job_id": "$response.body#/id"}}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """List the refusals of a route, with those every route has."""
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in (*statuses, 401, 403, 429, 500, 503)}


def job_answer(snapshot: JobSnapshot, base: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with a job."""
    body = snapshot.body(base)
    known = {"ETag": entity_tag(body), "Cache-Control": "no-store"}
    return Response(body, status, {**known, **(headers or {})}, "application/json")
