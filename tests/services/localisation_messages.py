"""Messages of localisation, for the golden JSON of every public message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from services.api.localisation_access import view_map
from services.contract import localisation, localisation_records
from services.contract.jobs import Artifact, ImageInput

START = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
POSE = [[0.0, -1.0, 0.0, 1.5], [1.0, 0.0, 0.0, -0.25], [0.0, 0.0, 1.0, 2.0], [0.0, 0.0, 0.0, 1.0]]
TIMING = localisation.TimingMs(queue=1.9, decode=2.4, infer=310.0, total=321.5)
REFERENCE = localisation_records.ReferenceRecord(
    id="ref_01996a00-0000-7000-8000-000000000003",
    tenant="default",
    name="door.jpg",
    image=ImageInput(name="door.jpg", bytes=5, sha256="0" * 64, media_type="image/jpeg", width=640, height=480),
    intrinsics=localisation.CameraIntrinsics(fx=500.0, fy=501.0, cx=319.5, cy=239.5, width=640, height=480),
    pose=POSE,
    created_at=START,
    retention_until=START + timedelta(days=30),
)
MAP = localisation_records.MapRecord(
    id="map_01996a00-0000-7000-8000-000000000004",
    tenant="default",
    name="hall",
    job_id="job_01996a00-0000-7000-8000-000000000001",
    status="ready",
    build="0123456789abcdef",
    files=[Artifact(name="map.m3r", media_type="application/octet-stream", bytes=1000, sha256="1" * 64)],
    fingerprint="89abcdef01234567",
    photos=12,
    scale=localisation.PoseScale(metric=True, source="metric_point_maps"),
    created_at=START,
    retention_until=START + timedelta(days=30),
)


def localisation_messages() -> dict[str, BaseModel]:
    """Every message of localisation that leaves the service or is kept."""
    base = "https://m3r.example"
    found = localisation.LocalizeAnswer(
        localized=True,
        pose=localisation.LocalizedPose(
            matrix=POSE,
            position=[1.5, -0.25, 2.0],
            quaternion=[0.5**0.5, 0.0, 0.0, 0.5**0.5],
            frame=localisation.PoseFrame(kind="map", id=MAP.id),
            convention=localisation.PoseConvention(),
        ),
        scale=MAP.scale,
        confidence=localisation.Confidence(
            inliers=812,
            inlier_ratio=0.71,
            reprojection_px=0.9,
            covariance=[[1e-4 if i == j else 0.0 for j in range(6)] for i in range(6)],
        ),
        used=["hall_003.jpg"],
        timing_ms=TIMING,
    )
    lost = localisation.LocalizeAnswer(
        localized=False, reason="few_inliers", detail="12 inliers; 30 are wanted", timing_ms=TIMING
    )
    error = localisation_records.MapError(code="job_gone", message="the job was deleted before its scene was frozen")
    failed = MAP.model_copy(update={"status": "failed", "build": None, "files": [], "photos": 0, "scale": None, "error": error})
    reference = localisation_records.Reference(
        **REFERENCE.model_dump(exclude={"tenant"}), encoded=True, links={"self": f"{base}/v1/references/{REFERENCE.id}"}
    )
    return {
        "localize.found": found,
        "localize.lost": lost,
        "reference": reference,
        "reference-page": localisation_records.ReferencePage(items=[reference], next_cursor=REFERENCE.id),
        "record.reference": REFERENCE,
        "map.ready": view_map(MAP, base),
        "map.failed": view_map(failed, base),
        "map-page": localisation_records.MapPage(items=[view_map(MAP, base)]),
        "record.map": MAP,
    }
