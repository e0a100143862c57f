"""What the service answers about references, maps and poses. Poses are camera to frame, OpenCV axes, quaternions w x y z."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from m3r_client.answers import CaptureImage

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class CameraIntrinsics:
    """A pinhole camera in pixels of the upright photograph, pixel centres at integers."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Reference:
    """A photograph that is kept to localise against; `pose` (4, 4) camera to world."""

    id: str
    name: str
    image: CaptureImage
    intrinsics: CameraIntrinsics | None = None
    pose: Rows | None = None
    encoded: bool = False
    created_at: datetime | None = None
    retention_until: datetime | None = None


@dataclass(frozen=True)
class ReferencePage:
    """A page of a listing, newest first."""

    items: tuple[Reference, ...]
    next_cursor: str | None = None


@dataclass(frozen=True)
class MapError:
    """Why a map could not be built."""

    code: str
    message: str


@dataclass(frozen=True)
class PoseScale:
    """Whether lengths are metres, and how that is known."""

    metric: bool
    source: str = ""


@dataclass(frozen=True)
class LocalisationMap:
    """A frozen scene; its `status` is building, ready or failed."""

    id: str
    name: str
    job_id: str
    status: str
    error: MapError | None = None
    photos: int = 0
    bytes: int = 0
    scale: PoseScale | None = None
    created_at: datetime | None = None
    retention_until: datetime | None = None
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MapPage:
    """A page of a listing, newest first."""

    items: tuple[LocalisationMap, ...]
    next_cursor: str | None = None


@dataclass(frozen=True)
class PoseFrame:
    """In which frame a pose is: a reference's camera, the world of the references' poses, or a map."""

    kind: str
    id: str | None = None
    index: int | None = None


@dataclass(frozen=True)
class LocalizedPose:
    """Where the photograph was taken: `matrix` (4, 4), camera centre, unit quaternion."""

    matrix: Rows
    position: tuple[float, ...]
    quaternion: tuple[float, ...]
    frame: PoseFrame
    convention: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Confidence:
    """How far a pose can be trusted; `covariance` (6, 6): translation, then rotation vector (radians)."""

    inliers: int
    inlier_ratio: float
    reprojection_px: float
    covariance: Rows = ()


@dataclass(frozen=True)
class TimingMs:
    """Where the time went, milliseconds."""

    queue: float = 0.0
    decode: float = 0.0
    infer: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class Localisation:
    """The pose of a photograph, or the `reason` why there is none that can be trusted."""

    localized: bool
    timing_ms: TimingMs
    reason: str | None = None
    detail: str | None = None
    pose: LocalizedPose | None = None
    scale: PoseScale | None = None
    confidence: Confidence | None = None
    used: tuple[str, ...] = ()
