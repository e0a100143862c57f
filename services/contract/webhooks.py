"""Webhooks: what a client asks for, what a job's record keeps of it, and what a receiver gets (Standard Webhooks)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from services.contract.codes import JobErrorCode
from services.contract.states import JobStatus

EventType = Literal["job.running", "job.succeeded", "job.failed", "job.canceled", "job.expired"]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
FINAL_EVENTS: tuple[EventType, ...] = ("job.succeeded", "job.failed", "job.canceled", "job.expired")

MAX_URL_CHARACTERS = 2_000
SECRET_PATTERN = r"^whsec_[A-Za-z0-9+/]{32,88}={0,2}$"  # 24 to 64 bytes in base64, as the specification asks


class _Model(BaseModel):
    """Unknown fields are refused. A base of its own: `jobs` imports this module."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WebhookRequest(_Model):
    """Where a client wants to be told what becomes of its job."""

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_URL_CHARACTERS,
            description="https; no credentials, no fragment.",
            json_schema_extra={"pattern": r"^https?://[!-~]+$"},
        ),
    ]
    secret: Annotated[
        SecretStr | None,
        Field(
            description="`whsec_` and 24 to 64 bytes in base64, to sign with; never shown again. Without it the tenant's own "
            "secret is used, which the operator knows.",
            json_schema_extra={"pattern": SECRET_PATTERN},
        ),
    ] = None
    events: Annotated[
        list[EventType],
        Field(min_length=1, max_length=len(EVENT_TYPES), description="Which changes to tell; by default those that end the job."),
    ] = list(FINAL_EVENTS)


class Webhook(_Model):
    """What a job's record keeps: the client's wish, its secret sealed, and how many events there have been."""

    url: str
    events: list[EventType]
    sealed_secret: str | None = None  # None: the tenant's own secret
    sequence: int = 0  # of the newest event; rises with the record's version in one compare-and-set


class WebhookView(_Model):
    """A job's webhook as its owner sees it."""

    url: str
    events: list[EventType]


class WebhookError(_Model):
    """Why the job failed."""

    code: JobErrorCode
    message: str
    retryable: bool


class WebhookData(_Model):
    """The change itself. `sequence` counts this job's events from 1; a receiver drops what is older than it has seen."""

    job_id: str
    sequence: int
    status: JobStatus
    terminal: bool
    attempt: int  # tries at the work so far
    labels: dict[str, str]
    capture_id: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: WebhookError | None
    url: str | None  # the job, when the service knows its public address


class WebhookEvent(_Model):
    """The body of a delivery, byte for byte the same at every try."""

    type: EventType
    timestamp: datetime  # of the change
    data: WebhookData


DeliveryStatus = Literal["pending", "delivered", "failed", "dropped"]


class Delivery(_Model):
    """One event on its way. `failed`: given up (the dead letters); `dropped`: an earlier 410 said that nobody wants it."""

    id: str  # the header `webhook-id`; the same at every try
    sequence: int
    type: EventType
    status: DeliveryStatus
    attempts: int  # tries in all
    created_at: datetime
    last_attempt_at: datetime | None = None
    next_attempt_at: datetime | None = None  # earliest; an event before this one goes first
    last_status: int | None = None  # the receiver's answer, if there was one
    last_error: str | None = None
    delivered_at: datetime | None = None


class DeliveryList(_Model):
    """All deliveries of a job, in their order."""

    items: list[Delivery]
