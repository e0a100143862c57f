"""A job: the record that is the truth (`JobRecord`), and what clients see of it (`Job`)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.contract.codes import JobErrorCode
from services.contract.states import TERMINAL, JobStatus
from services.contract.webhooks import Webhook, WebhookView

Preset = Literal["fast", "balanced", "accurate"]
Stage = Literal["load", "encode", "pair", "decode", "match", "align", "fuse", "export"]
PriorKind = Literal["cameras", "mask", "depth"]
SIDEWAYS = range(5, 9)  # values of EXIF's orientation that swap width and height
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Model(BaseModel):
    """Base of all messages: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageInput(Model):
    """A photograph of a job, as it lies in the capture."""

    name: str
    bytes: int
    sha256: str  # hex
    media_type: str
    width: int  # as stored, before EXIF rotation
    height: int
    exif_orientation: int | None = None  # 1 to 8; None: its header does not tell cheaply

    @property
    def upright_sizes(self) -> list[tuple[int, int]]:
        """Width and height after EXIF rotation; both that are possible where the orientation is not known."""
        stored = (self.width, self.height)
        if self.exif_orientation is None:
            return [stored, stored[::-1]]
        return [stored[::-1] if self.exif_orientation in SIDEWAYS else stored]


class PriorFile(Model):
    """What is known beforehand and was sent as a file: of all photographs (cameras), or an image of one of them."""

    id: str  # names the object it lies in; a file that replaces another has an id that is greater
    kind: PriorKind
    name: str  # of the photograph; "" for cameras
    bytes: int
    sha256: str  # hex
    width: int | None = None  # of masks and depth maps
    height: int | None = None


class JobError(Model):
    """Why a job failed and what to do about it."""

    code: JobErrorCode
    message: str
    retryable: bool
    hint: str | None = None


class StageProgress(Model):
    """One stage of the work."""

    name: Stage
    seconds: float = 0.0


class ProgressReport(Model):
    """How far the work is; `fraction` is of the whole job and never falls within an attempt."""

    fraction: Fraction
    stage: Stage
    stages: list[StageProgress] = Field(default_factory=list)
    eta_s: float | None = None
    updated_at: datetime


class Artifact(Model):
    """One file of the result."""

    name: str
    media_type: str
    bytes: int
    sha256: str  # hex


class Attempt(Model):
    """One try at the work. Its fencing token names the folder its artefacts lie in."""

    number: int
    token: str
    worker: str  # host and process
    started_at: datetime
    ended_at: datetime | None = None
    outcome: Literal["succeeded", "failed", "canceled", "lost", "released"] | None = None
    error: JobError | None = None


class PhotoQuality(Model):
    """What became of one photograph."""

    name: str
    registered: bool
    component: int
    reason: str | None = None


class Quality(Model):
    """How far the result can be trusted."""

    verdict: Literal["good", "fair", "poor"]
    reasons: list[str] = Field(default_factory=list)
    photos: list[PhotoQuality] = Field(default_factory=list)


class Scale(Model):
    """Whether lengths are metres, and how that is known."""

    metric: bool
    source: Literal["network", "priors", "none"]


class Metrics(Model):
    """Times and counts of a finished job."""

    queue_s: float | None = None
    compute_s: float | None = None
    images_used: int | None = None
    images_total: int | None = None
    points: int | None = None
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    peak_memory_bytes: int | None = None


class JobResult(Model):
    """What a successful attempt publishes, in one compare-and-set with its token."""

    token: str
    artifacts: list[Artifact]
    scale: Scale
    quality: Quality
    metrics: Metrics
    warnings: list[str] = Field(default_factory=list)


class JobRecord(Model):
    """The truth about a job. Every change is a compare-and-set on `version`; the durable copy lies in the object store."""

    id: str
    tenant: str
    capture_id: str
    owns_capture: bool = True  # the capture was made for this job (one-shot) and goes with the data of the last job that has it
    retry_of: str | None = None  # the job that this one does again
    version: int = 0  # rises by one at every change
    status: JobStatus = JobStatus.QUEUED
    preset: Preset = "balanced"
    options: dict[str, Any] = Field(default_factory=dict)  # validated against the options' schema at submission
    outputs: list[str] = Field(default_factory=list)
    strict_images: bool = False  # one bad photograph fails the job instead of a warning
    labels: dict[str, str] = Field(default_factory=dict)
    images: list[ImageInput]
    priors: list[PriorFile] = Field(default_factory=list)  # as they were when the job was made
    warnings: list[str] = Field(default_factory=list)
    created_at: datetime
    queued_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline_at: datetime | None = None
    retention_until: datetime
    deleted_at: datetime | None = None  # the data is gone; the record stays as a tombstone
    token: str | None = None  # fencing token of the attempt that holds the job
    request_id: str | None = None  # of the request that made the job: one id from the HTTP log to the worker's
    webhook: Webhook | None = None
    attempts: list[Attempt] = Field(default_factory=list)
    error: JobError | None = None
    result: JobResult | None = None

    @property
    def terminal(self) -> bool:
        """Whether the status is final."""
        return self.status in TERMINAL

    @property
    def input_bytes(self) -> int:
        """Of the photographs and of what is known beforehand."""
        return sum(image.bytes for image in self.images) + sum(prior.bytes for prior in self.priors)


class QueueInfo(Model):
    """Where a queued job stands; 0 is next."""

    position: int


class AttemptView(Model):
    """One try at the work, as clients see it."""

    number: int
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    error: JobError | None


class Job(Model):
    """A job as clients see it."""

    id: str
    capture_id: str
    retry_of: str | None
    status: JobStatus
    terminal: bool
    preset: Preset
    options: dict[str, Any]
    outputs: list[str]
    labels: dict[str, str]
    stage: Stage | None
    progress: ProgressReport | None
    queue: QueueInfo | None
    attempts: list[AttemptView]
    error: JobError | None
    created_at: datetime
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime | None
    retention_until: datetime
    metrics: Metrics | None
    scale: Scale | None
    quality: Quality | None
    warnings: list[str]
    webhook: WebhookView | None = None
    links: dict[str, str]
