"""What the service answers, as frozen dataclasses named as in `openapi.yaml`. Times are aware datetimes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field of a request; `pointer` is a JSON pointer (RFC 6901)."""

    pointer: str = ""
    message: str = ""


@dataclass(frozen=True)
class Limits:
    """What a request may ask for."""

    max_photos: int
    max_photo_bytes: int
    max_capture_bytes: int
    max_photo_pixels: int
    min_photo_side: int = 0
    max_archive_entries: int = 0
    max_wait_s: int = 0
    job_time_limit_s: int = 0
    photo_formats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Retention:
    """How long things are kept."""

    job_days: float
    capture_hours: float


@dataclass(frozen=True)
class Info:
    """What the service says about itself."""

    version: str
    limits: Limits
    retention: Retention
    name: str = ""
    api_versions: tuple[str, ...] = ()
    checkpoint: str = ""
    presets: tuple[str, ...] = ()
    default_preset: str = ""
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaptureImage:
    """A photograph that has arrived; `width` and `height` in pixels as stored, before EXIF rotation."""

    name: str
    bytes: int
    sha256: str  # hex
    media_type: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class CaptureCameras:
    """What is known of cameras and poses beforehand, as it is kept."""

    bytes: int
    sha256: str  # hex


@dataclass(frozen=True)
class CaptureMap:
    """A mask or a depth map of a photograph."""

    name: str  # of the photograph
    bytes: int
    sha256: str  # hex
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class CaptureLimits:
    """What a capture takes."""

    max_photos: int
    max_photo_bytes: int
    max_capture_bytes: int
    max_photo_pixels: int = 0


@dataclass(frozen=True)
class Capture:
    """A set of photographs that is being filled, or was."""

    id: str
    created_at: datetime
    expires_at: datetime
    frozen: bool  # a job was made of it; it takes no more photographs
    limits: CaptureLimits
    bytes: int = 0
    images: tuple[CaptureImage, ...] = ()
    cameras: CaptureCameras | None = None
    masks: tuple[CaptureMap, ...] = ()
    depths: tuple[CaptureMap, ...] = ()
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobError:
    """Why a job failed, and what to do about it."""

    code: str
    message: str
    retryable: bool = False
    hint: str | None = None


@dataclass(frozen=True)
class StageProgress:
    """One stage of the work."""

    name: str
    seconds: float = 0.0


@dataclass(frozen=True)
class ProgressReport:
    """How far a job is; `fraction` is of the whole job, in [0, 1]."""

    fraction: float
    stage: str
    stages: tuple[StageProgress, ...] = ()
    eta_s: float | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True)
class QueueInfo:
    """Where a job that waits stands; 0 is next."""

    position: int


@dataclass(frozen=True)
class Attempt:
    """One try at the work."""

    number: int
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str | None = None
    error: JobError | None = None


@dataclass(frozen=True)
class Scale:
    """Whether lengths are metres, and how that is known."""

    metric: bool
    source: str = ""


@dataclass(frozen=True)
class PhotoQuality:
    """What became of one photograph; `component` is -1 where it was not registered."""

    name: str
    registered: bool
    component: int = -1
    reason: str | None = None


@dataclass(frozen=True)
class Quality:
    """How far the result can be trusted."""

    verdict: str
    reasons: tuple[str, ...] = ()
    photos: tuple[PhotoQuality, ...] = ()


@dataclass(frozen=True)
class Metrics:
    """Times and counts of a job that has ended."""

    queue_s: float | None = None
    compute_s: float | None = None
    images_used: int | None = None
    images_total: int | None = None
    points: int | None = None
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)
class Job:
    """A job. Any state with `terminal` is final, also one that this client does not know."""

    id: str
    status: str
    terminal: bool
    capture_id: str = ""
    retry_of: str | None = None
    preset: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    stage: str | None = None
    progress: ProgressReport | None = None
    queue: QueueInfo | None = None
    attempts: tuple[Attempt, ...] = ()
    error: JobError | None = None
    created_at: datetime | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline_at: datetime | None = None
    retention_until: datetime | None = None
    metrics: Metrics | None = None
    scale: Scale | None = None
    quality: Quality | None = None
    warnings: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Whether there is a result."""
        return self.status == "succeeded"


@dataclass(frozen=True)
class JobPage:
    """A page of a listing, newest first."""

    items: tuple[Job, ...]
    next_cursor: str | None = None


@dataclass(frozen=True)
class Artifact:
    """One file of a result."""

    name: str
    bytes: int
    sha256: str  # hex
    media_type: str = ""
    url: str = ""


@dataclass(frozen=True)
class JobEvent:
    """Something that happened to a job: `job` (the whole job), `status`, `progress`, or `gap` (older events are lost)."""

    id: str
    event: str
    data: Mapping[str, Any]

    @property
    def terminal(self) -> bool:
        """Whether the job has ended with this event."""
        return self.data.get("terminal") is True
