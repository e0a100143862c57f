"""Captures: sets of photographs that are filled one by one, over as many connections as it takes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from services.contract.ids import CAPTURE_ID_PATTERN
from services.contract.jobs import ImageInput, Model, Preset
from services.contract.outputs import OUTPUTS
from services.contract.webhooks import WebhookRequest

OUTPUT_NAME: dict[str, Any] = {"type": "string", "enum": list(OUTPUTS)}
LABELS: dict[str, Any] = {
    "description": "Names and texts of your own; printable, no `=` in a name.",
    "maxProperties": 32,
    "propertyNames": {"minLength": 1, "maxLength": 200, "pattern": r"^[^=\x00-\x1f\x7f]+$"},
    "additionalProperties": {"type": "string", "maxLength": 200},
}


class CaptureRecord(Model):
    """What a capture is, but for its photographs; the durable copy lies in the object store."""

    id: str
    tenant: str
    created_at: datetime
    expires_at: datetime
    frozen_at: datetime | None = None  # a job was made of it; it takes no more photographs


class CaptureTombstone(Model):
    """What is left of a capture that was deleted."""

    record: CaptureRecord
    deleted_at: datetime


class CaptureLimits(Model):
    """What a capture takes."""

    max_photos: int
    max_photo_bytes: int
    max_capture_bytes: int
    max_photo_pixels: int


class PriorDocument(Model):
    """The cameras document that a capture has (`GET /v1/captures/{id}/cameras` gives it)."""

    bytes: int
    sha256: str  # hex


class PriorImage(Model):
    """A mask or a depth map that a capture has."""

    name: str  # of the photograph
    bytes: int
    sha256: str  # hex
    width: int
    height: int


class Capture(Model):
    """A capture as clients see it."""

    id: str
    created_at: datetime
    expires_at: datetime  # its photographs are removed then, unless a job has them
    frozen: bool  # a job was made of it; it takes no more photographs
    bytes: int
    images: list[ImageInput]  # in the order of their names, which is their order in a job
    cameras: PriorDocument | None  # what is known beforehand; it may be replaced, jobs keep what they were given
    masks: list[PriorImage]
    depths: list[PriorImage]
    jobs: list[str]  # those made of it that are not deleted
    limits: CaptureLimits
    links: dict[str, str]


class ReconstructionRequest(Model):
    """A job on a capture (`POST /v1/reconstructions` with JSON)."""

    capture_id: Annotated[str, Field(pattern=CAPTURE_ID_PATTERN)]
    preset: Preset = "balanced"
    options: dict[str, Any] = Field(default_factory=dict, description="`GET /v1/options` has the schema.")
    outputs: list[str] = Field(default_factory=list, json_schema_extra={"items": OUTPUT_NAME})
    labels: dict[str, str] = Field(default_factory=dict, json_schema_extra=dict(LABELS))
    strict_images: bool = Field(default=False, description="One photograph that cannot be decoded fails the job.")
    deadline_s: float | None = Field(
        default=None,
        description="Seconds from now.",
        json_schema_extra={"exclusiveMinimum": 0, "maximum": 2_592_000},
    )
    webhook: WebhookRequest | None = Field(default=None, description="Where to tell what becomes of the job.")
