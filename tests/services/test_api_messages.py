"""Every public message as golden JSON: what clients parse does not change unseen.

`python -m tests.services.test_api_messages` writes the files anew, after a change that is meant.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from services.adapters.capture_store import CaptureState
from services.adapters.settings import Settings
from services.adapters.webhook_events import OutboxEntry, entry_of
from services.api.capture_access import view_capture
from services.api.job_views import view_job
from services.api.problems import ProblemError, problem_response
from services.contract import captures, events, info, jobs, pages, problems, uploads, webhooks
from services.contract.codes import JobErrorCode, ProblemCode
from services.contract.event_stream import GapEvent, StatusEvent
from services.contract.states import JobStatus
from tests.services.localisation_messages import localisation_messages

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden" / "messages"
BASE = "https://m3r.example"
START = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
JOB = "job_01996a00-0000-7000-8000-000000000001"
TOKEN = "0123456789abcdef01234567"


def record(**changes: Any) -> jobs.JobRecord:
    """A queued job of two photographs."""
    image = jobs.ImageInput(name="a.jpg", bytes=5, sha256="0" * 64, media_type="image/jpeg", width=4000, height=3000)
    facts: dict[str, Any] = {
        "id": JOB,
        "tenant": "default",
        "capture_id": "cap_01996a00-0000-7000-8000-000000000002",
        "options": {"matching": {"subsample": 4}},
        "outputs": ["scene.ply"],
        "labels": {"site": "north"},
        "images": [image, image.model_copy(update={"name": "b.jpg"})],
        "warnings": ["photo left out: 'c.jpg': the file is empty"],
        "created_at": START,
        "queued_at": START,
        "retention_until": START + timedelta(days=7),
    }
    return jobs.JobRecord(**{**facts, **changes})


PROGRESS = jobs.ProgressReport(
    fraction=0.4,
    stage="decode",
    stages=[jobs.StageProgress(name="load", seconds=0.5), jobs.StageProgress(name="encode", seconds=2.0)],
    eta_s=12.5,
    updated_at=START + timedelta(seconds=9),
)
LATER = START + timedelta(seconds=60)
FAILURE = jobs.JobError(code=JobErrorCode.NO_OVERLAP, message="no two photographs overlap", retryable=False, hint="take more")
ATTEMPT = jobs.Attempt(number=1, token=TOKEN, worker="gpu-1:77", started_at=START)
ENDED = {"started_at": START, "finished_at": LATER}
RESULT = jobs.JobResult(
    token=TOKEN,
    artifacts=[jobs.Artifact(name="scene.ply", media_type="model/ply", bytes=15, sha256="1" * 64)],
    scale=jobs.Scale(metric=True, source="network"),
    quality=jobs.Quality(
        verdict="fair",
        reasons=["one photo is not registered"],
        photos=[
            jobs.PhotoQuality(name="a.jpg", registered=True, component=0),
            jobs.PhotoQuality(name="b.jpg", registered=False, component=-1, reason="no match holds"),
        ],
    ),
    metrics=jobs.Metrics(queue_s=1.0, compute_s=58.5, images_used=1, images_total=2, points=100, stage_seconds={"load": 0.5}),
    warnings=["b.jpg is not registered"],
)
CAPTURE = CaptureState(
    record=captures.CaptureRecord(
        id="cap_01996a00-0000-7000-8000-000000000002",
        tenant="default",
        created_at=START,
        expires_at=START + timedelta(hours=48),
        frozen_at=LATER,
    ),
    frozen=True,
    bytes=10,
    images=record().images,
    pending=frozenset({"c.jpg"}),
    jobs=[JOB],
    deleted_at=None,
)
WEBHOOK = webhooks.Webhook(
    url="https://hooks.example/m3r", events=["job.running", "job.failed"], sealed_secret="c2VhbGVk", sequence=2
)
DELIVERY = webhooks.Delivery(
    id=f"evt_{JOB.removeprefix('job_')}_2_failed",
    sequence=2,
    type="job.failed",
    status="pending",
    attempts=1,
    created_at=LATER,
    last_attempt_at=LATER,
    next_attempt_at=LATER + timedelta(seconds=5),
    last_status=503,
    last_error="the receiver answered 503",
)
PROBLEM = ProblemError(
    422,
    ProblemCode.INVALID_IMAGE,
    "no photograph is usable: 'a.jpg': the file is empty",
    [problems.FieldError(pointer="/images/0", message="'a.jpg': the file is empty")],
)


def _job(changes: dict[str, Any], progress: jobs.ProgressReport | None = None, position: int | None = None) -> jobs.Job:
    return view_job(record(**changes), BASE, progress, position)


def _event(changes: dict[str, Any]) -> OutboxEntry:
    entry = entry_of(record(**changes, version=2, webhook=WEBHOOK), Settings(public_base_url=BASE))
    assert entry is not None
    assert entry.id == DELIVERY.id
    return entry


def _ended(outcome: str, error: jobs.JobError | None = None) -> list[jobs.Attempt]:
    return [ATTEMPT.model_copy(update={"ended_at": LATER, "outcome": outcome, "error": error})]


def messages() -> dict[str, BaseModel]:
    """Every message that leaves the service."""
    running: dict[str, Any] = {"status": JobStatus.RUNNING, "started_at": START, "token": TOKEN, "attempts": [ATTEMPT]}
    succeeded = {"status": JobStatus.SUCCEEDED, "result": RESULT, "attempts": _ended("succeeded"), **ENDED}
    failed = {"status": JobStatus.FAILED, "error": FAILURE, "attempts": _ended("failed", FAILURE), **ENDED}
    problem = problems.Problem.model_validate_json(bytes(problem_response(PROBLEM, "/v1/reconstructions", "req_1").body))
    queued = _job({}, position=3)
    return {
        "job.queued": queued,
        "job.running": _job(running, PROGRESS),
        "job.canceling": _job({**running, "status": JobStatus.CANCELING}, PROGRESS),
        "job.succeeded": _job(succeeded, PROGRESS),
        "job.failed": _job(failed),
        "job.canceled": _job({"status": JobStatus.CANCELED, "finished_at": LATER}),
        "job.expired": _job({"status": JobStatus.EXPIRED, "deadline_at": LATER, "finished_at": LATER}),
        "job.retry": _job({"retry_of": "job_01996a00-0000-7000-8000-000000000009"}, position=0),
        "job.webhook": _job({"webhook": WEBHOOK}),
        "record.webhook": WEBHOOK,
        "webhook.event": webhooks.WebhookEvent.model_validate_json(_event(failed).body),
        "delivery-list": webhooks.DeliveryList(items=[DELIVERY]),
        "capture": view_capture(CAPTURE, BASE, Settings()),
        "record.capture": CAPTURE.record,
        "upload": uploads.Upload(
            id="upl_01996a00-0000-7000-8000-000000000007",
            capture_id=CAPTURE.record.id,
            expires_at=LATER,
            files=[uploads.UploadTarget(name="a.jpg", url="https://s3.example/b/k?X-Amz-Signature=0", headers={"x-amz-a": "b"})],
            links={
                "complete": f"{BASE}/v1/captures/{CAPTURE.record.id}/uploads/upl_01996a00-0000-7000-8000-000000000007/complete"
            },
        ),
        "job-page": pages.JobPage(items=[queued], next_cursor=JOB),
        "artifact-link": pages.ArtifactLink(**RESULT.artifacts[0].model_dump(), url=f"{BASE}/v1/jobs/{JOB}/artifacts/scene.ply"),
        "event.status": StatusEvent(status=JobStatus.FAILED, terminal=True, version=4, attempt=1, error=FAILURE),
        "event.progress": PROGRESS,
        "event.gap": GapEvent(last_event_id="1-0", reason="this event is not kept (any more)"),
        "event.stored": events.JobEvent(id="1767323045678-0", event="progress", data=PROGRESS.model_dump(mode="json")),
        "problem": problem,
        "demand": info.Demand(queued=3, running=1),
        "health": info.Health(status="ok", checks={"job_store": "ok"}),
        "record": record(**succeeded),
        **localisation_messages(),
    }


@pytest.mark.parametrize("name", messages())
def test_a_message_is_its_golden_json(name: str) -> None:
    message = messages()[name]
    assert json.loads(message.model_dump_json()) == json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize("name", messages())
def test_golden_json_is_read_and_unknown_fields_are_refused(name: str) -> None:
    message = messages()[name]
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    assert type(message).model_validate_json(json.dumps(golden)) == message
    with pytest.raises(ValidationError, match="surprise"):
        type(message).model_validate({**golden, "surprise": 1})


def test_there_is_no_golden_file_without_a_message() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(messages())


if __name__ == "__main__":
    for name, message in messages().items():
        (GOLDEN / f"{name}.json").write_text(
            json.dumps(json.loads(message.model_dump_json()), indent=2, ensure_ascii=False) + "\n"
        )
