"""From photographs in a capture to a job, once however often it is sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m3r_client.answers import Artifact, Capture, Job
from m3r_client.decoding import decode
from m3r_client.downloading import download_all
from m3r_client.errors import JobNotSucceeded
from m3r_client.photos import Photo
from m3r_client.priors import Priors
from m3r_client.progress import OnProgress
from m3r_client.retrying import RetryPolicy, read_json, send
from m3r_client.steps import Request, Steps
from m3r_client.uploading import upload_photos
from m3r_client.waiting import wait_for_job


@dataclass(frozen=True)
class Wishes:
    """What a job is to do; `GET /v1/options` has the schema of `options`, `GET /v1/info` the names of presets and outputs."""

    preset: str = "balanced"
    options: Mapping[str, Any] = field(default_factory=dict)
    outputs: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    deadline_s: float | None = None
    strict_images: bool = False
    webhook: Mapping[str, Any] | None = field(default=None, repr=False)  # {"url", "secret", "events"}; docs/webhooks.md
    more: Mapping[str, Any] = field(default_factory=dict)  # fields of the request that this client does not know

    def as_json(self, capture_id: str) -> dict[str, Any]:
        """Write the request's body."""
        body = {
            "capture_id": capture_id,
            "preset": self.preset,
            "options": dict(self.options),
            "outputs": list(self.outputs),
            "labels": dict(self.labels),
            "strict_images": self.strict_images,
            **self.more,
        }
        later = {"deadline_s": self.deadline_s, "webhook": self.webhook}
        return {**body, **{name: value for name, value in later.items() if value is not None}}

    def key_for(self, capture: Capture) -> str:
        """An idempotency key that a process which was killed and begins anew makes again: the job it may have made is found.

        With other things known beforehand it is another job.
        """
        known = [capture.cameras, *capture.masks, *capture.depths]
        sums = [each.sha256 for each in known if each is not None]
        text = json.dumps([self.as_json(capture.id), *sums], sort_keys=True)
        return f"{capture.id}.{hashlib.sha256(text.encode()).hexdigest()[:32]}"


@dataclass(frozen=True)
class Reconstruction:
    """A job that has succeeded, with its files; `folder` is where they were saved, if they were."""

    job: Job
    artifacts: tuple[Artifact, ...]
    folder: Path | None = None


def submit_capture(policy: RetryPolicy, capture_id: str, wishes: Wishes, key: str) -> Steps[Job]:
    """Make a job of a capture."""
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    body = json.dumps(wishes.as_json(capture_id)).encode()
    answer = yield from send(Request("POST", "/v1/reconstructions", headers=headers, body=body), policy)
    return decode(Job, read_json(answer))


def reconstruct(
    policy: RetryPolicy,
    photos: list[Photo],
    wishes: Wishes,
    out: Path | None,
    resume: str | None,
    parallel: int,
    timeout_s: float | None,
    on_progress: OnProgress,
    priors: Priors | None = None,
) -> Steps[Reconstruction]:
    """The whole way: upload, job, result."""
    capture = yield from upload_photos(policy, photos, resume, parallel, wishes.strict_images, on_progress, priors)
    job = yield from submit_capture(policy, capture.id, wishes, wishes.key_for(capture))
    job = yield from wait_for_job(policy, job.id, timeout_s, on_progress)
    if not job.succeeded:
        raise JobNotSucceeded(job)
    artifacts = yield from download_all(policy, job.id, out, None, on_progress)
    return Reconstruction(job, tuple(artifacts), out)
