"""References and maps: what is kept of them (`…Record`), and what clients see."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from services.contract.ids import JOB_ID_PATTERN
from services.contract.jobs import Artifact, ImageInput, Model
from services.contract.localisation import CameraIntrinsics, InlineReference, Matrix4, PoseScale

MAX_NAME_CHARACTERS = 200


class ReferenceFacts(InlineReference):
    """The `reference` part of `POST /v1/references`: what is known of the photograph."""


class ReferenceRecord(Model):
    """A reference photograph that is kept; the durable copy lies in the object store."""

    id: str
    tenant: str
    name: str
    image: ImageInput
    intrinsics: CameraIntrinsics | None = None
    pose: Matrix4 | None = None
    created_at: datetime
    retention_until: datetime


class Reference(Model):
    """A reference photograph as clients see it."""

    id: str
    name: str
    image: ImageInput
    intrinsics: CameraIntrinsics | None
    pose: Matrix4 | None  # camera to world
    encoded: bool  # it has been, in the background or at the first query; another checkpoint does it anew by itself
    created_at: datetime
    retention_until: datetime
    links: dict[str, str]


class ReferencePage(Model):
    """References, newest first. `next_cursor` asks for the following page; null: this was the last."""

    items: list[Reference]
    next_cursor: str | None = None


MapStatus = Literal["building", "ready", "failed"]


class MapRequest(Model):
    """A finished job whose scene is to be frozen (`POST /v1/maps`)."""

    job_id: Annotated[str, Field(pattern=JOB_ID_PATTERN)]
    name: str | None = Field(default=None, max_length=MAX_NAME_CHARACTERS)


class MapError(Model):
    """Why a map could not be built."""

    code: str
    message: str


class MapRecord(Model):
    """A frozen scene; the durable copy lies in the object store."""

    id: str
    tenant: str
    name: str
    job_id: str
    status: MapStatus = "building"
    build: str | None = None  # folder of the build that is published
    files: list[Artifact] = Field(default_factory=list)
    fingerprint: str | None = None  # of the network that it belongs to
    photos: int = 0
    scale: PoseScale | None = None
    error: MapError | None = None
    created_at: datetime
    retention_until: datetime


class LocalisationMap(Model):
    """A map as clients see it; its frame is that of the job's poses.json, component 0."""

    id: str
    name: str
    job_id: str
    status: MapStatus
    error: MapError | None
    photos: int  # that a query can be found at
    bytes: int
    scale: PoseScale | None
    created_at: datetime
    retention_until: datetime
    links: dict[str, str]


class MapPage(Model):
    """Maps, newest first. `next_cursor` asks for the following page; null: this was the last."""

    items: list[LocalisationMap]
    next_cursor: str | None = None
