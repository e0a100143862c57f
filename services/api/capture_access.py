"""Finding a capture for a caller, and showing it."""

from __future__ import annotations

from datetime import UTC, datetime

from services.adapters.capture_store import CaptureState, CaptureStore
from services.adapters.settings import Settings
from services.api.links import capture_url, job_url
from services.api.problems import ProblemError
from services.contract.captures import Capture, CaptureLimits, PriorDocument, PriorImage
from services.contract.codes import ProblemCode
from services.contract.ids import is_id
from services.contract.jobs import PriorFile


def find_capture(captures: CaptureStore, tenant: str, capture_id: str) -> CaptureState:
    """Read a capture that the caller may see. Blocks.

    Raises:
        ProblemError: 404 when there is none (or it is another tenant's), 410 when it was deleted or its time is over.
    """
    state = captures.get(capture_id) if is_id("cap", capture_id) else None
    if state is None or state.record.tenant != tenant:
        raise ProblemError(404, ProblemCode.NOT_FOUND, f"there is no capture {capture_id[:60]}")
    if state.deleted_at is not None or state.expired(datetime.now(UTC)):
        raise capture_gone(capture_id)
    return state


def capture_gone(capture_id: str) -> ProblemError:
    """The capture was deleted, or its time is over."""
    return ProblemError(410, ProblemCode.GONE, f"capture {capture_id} was deleted, or its time is over; make a new one")


def view_capture(state: CaptureState, base: str, settings: Settings) -> Capture:
    """Show a capture."""
    record = state.record
    capture = capture_url(base, record.id)
    return Capture(
        id=record.id,
        created_at=record.created_at,
        expires_at=record.expires_at,
        frozen=state.frozen,
        bytes=sum(image.bytes for image in state.images) + sum(prior.bytes for prior in state.priors),
        images=state.images,
        cameras=next((PriorDocument(bytes=p.bytes, sha256=p.sha256) for p in state.priors if p.kind == "cameras"), None),
        masks=[view_prior(prior) for prior in state.priors if prior.kind == "mask"],
        depths=[view_prior(prior) for prior in state.priors if prior.kind == "depth"],
        jobs=state.jobs,
        limits=CaptureLimits(
            max_photos=settings.max_photos,
            max_photo_bytes=settings.max_photo_bytes,
            max_capture_bytes=settings.max_capture_bytes,
            max_photo_pixels=settings.max_photo_pixels,
        ),
        links={
            "self": capture,
            "image": f"{capture}/images/{{name}}",
            "cameras": f"{capture}/cameras",
            "mask": f"{capture}/masks/{{name}}",
            "depth": f"{capture}/depths/{{name}}",
            "signed": f"{capture}/links",
            "reconstructions": f"{base}/v1/reconstructions",
            **({"uploads": f"{capture}/uploads"} if settings.store.startswith("s3:") else {}),
            **{job_id: job_url(base, job_id) for job_id in state.jobs},
        },
    )


def view_prior(prior: PriorFile) -> PriorImage:
    """Show a mask or a depth map."""
    return PriorImage(name=prior.name, bytes=prior.bytes, sha256=prior.sha256, width=prior.width or 0, height=prior.height or 0)
