"""The asynchronous client.

async with AsyncClient("http://127.0.0.1:8000") as client:
    result = await client.reconstruct("photos/", out="result/")
    print(result.job.metrics.points, [artifact.name for artifact in result.artifacts])
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import httpx

from m3r_client import simple_calls as calls
from m3r_client.answers import Artifact, Capture, Info, Job, JobEvent
from m3r_client.async_localisation_calls import AsyncLocalisationCalls
from m3r_client.connection import PARALLEL_UPLOADS, Connection
from m3r_client.downloading import download_all
from m3r_client.event_stream import follow_job
from m3r_client.photos import Photos, gather_photos
from m3r_client.priors import CamerasLike, PriorImages, gather_priors
from m3r_client.progress import OnProgress, ignore
from m3r_client.retrying import RetryPolicy
from m3r_client.run_async import AsyncRunner
from m3r_client.submitting import Reconstruction, Wishes, reconstruct, submit_capture
from m3r_client.uploading import upload_photos
from m3r_client.waiting import wait_for_job, wait_with_events


class AsyncClient(AsyncLocalisationCalls):
    """A asynchronous client; for one event loop. Calls are repeated while the network fails (`RetryPolicy`).

    All calls raise `Refused` (its kinds are in `m3r_client.errors`) when the service says no, `ConnectionLost` when no answer
    came for as long as the policy is patient.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        retry: RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            url: where the service answers, with a proxy's prefix if there is one.
            key: `m3r_…`; None where the service asks for none.
            transport: another way to the service, for a proxy or TLS of your own.
        """
        self._policy = retry or RetryPolicy()
        self._http = httpx.AsyncClient(transport=transport, **Connection(url, key).http_arguments())
        self._runner = AsyncRunner(self._http)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def info(self) -> Info:
        """Limits, presets, outputs, versions."""
        return await self._runner.run(calls.get_info(self._policy))

    async def options(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of a job's options."""
        return await self._runner.run(calls.get_options(self._policy))

    async def reconstruct(
        self,
        photos: Photos,
        *,
        cameras: CamerasLike | None = None,
        masks: PriorImages | None = None,
        depths: PriorImages | None = None,
        preset: str = "balanced",
        options: Mapping[str, Any] | None = None,
        outputs: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
        strict_images: bool = False,
        out: str | PathLike[str] | None = None,
        resume: str | None = None,
        timeout_s: float | None = None,
        parallel: int = PARALLEL_UPLOADS,
        on_progress: OnProgress = ignore,
    ) -> Reconstruction:
        """Upload photographs, run a job, wait for its end and save its files.

        Args:
            photos: a folder, or paths, or (name, bytes).
            cameras: what is known of cameras and poses, a JSON file or what it would hold (docs/priors.md).
            masks, depths: PNGs named like their photographs: a folder, or paths, or (name, bytes), or by the photographs' names.
            strict_images: a photograph that cannot be used is an error; else it is left out and `on_progress` hears of it.
            out: folder for the files; None: they are only listed.
            resume: the capture (`Progress.capture_id`) that a process which was killed had begun: what is there is not sent
                again, and the job it may have made is found (for 24 h, with the same wishes).
            timeout_s: of the waiting for the job's end.
            parallel: photographs sent at a time.

        Raises:
            JobNotSucceeded: the job ended otherwise.
            WaitTimeout, CorruptDownload: see there.
            ValueError: no photograph, or two of one name; a mask or depth map of none.
        """
        wishes = Wishes(preset, options or {}, outputs, labels or {}, deadline_s, strict_images)
        folder, files = None if out is None else Path(out), gather_photos(photos)
        priors = gather_priors(files, cameras, masks, depths)
        return await self._runner.run(
            reconstruct(self._policy, files, wishes, folder, resume, parallel, timeout_s, on_progress, priors)
        )

    async def upload(
        self,
        photos: Photos,
        *,
        cameras: CamerasLike | None = None,
        masks: PriorImages | None = None,
        depths: PriorImages | None = None,
        resume: str | None = None,
        strict_images: bool = False,
        parallel: int = PARALLEL_UPLOADS,
        on_progress: OnProgress = ignore,
    ) -> Capture:
        """Fill a new capture, or go on with one (`resume`: its id); see `reconstruct`."""
        files = gather_photos(photos)
        priors = gather_priors(files, cameras, masks, depths)
        steps = upload_photos(self._policy, files, resume, parallel, strict_images, on_progress, priors)
        return await self._runner.run(steps)

    async def capture(self, capture_id: str) -> Capture:
        """What a capture has."""
        return await self._runner.run(calls.get_capture(self._policy, capture_id))

    async def delete_capture(self, capture_id: str) -> None:
        """Delete a capture with its photographs."""
        await self._runner.run(calls.delete_capture(self._policy, capture_id))

    async def submit(self, capture_id: str, wishes: Wishes | None = None, *, idempotency_key: str | None = None) -> Job:
        """Make a job of a capture; however often the request has to be sent, one job."""
        key = idempotency_key or str(uuid.uuid4())
        return await self._runner.run(submit_capture(self._policy, capture_id, wishes or Wishes(), key))

    async def job(self, job_id: str) -> Job:
        """A job as it is now."""
        return await self._runner.run(calls.get_job(self._policy, job_id))

    def jobs(self, *, status: str | None = None, label: str | None = None, page_size: int = 50) -> AsyncIterator[Job]:
        """All jobs, newest first, fetched page by page; `label` is "name" or "name=value"."""
        return self._runner.iterate(calls.list_jobs(self._policy, status, label, page_size))

    async def wait(
        self,
        job_id: str,
        *,
        timeout_s: float | None = None,
        by: Literal["poll", "events"] = "poll",
        on_progress: OnProgress = ignore,
    ) -> Job:
        """Wait for a job's end, by long polls or its event stream; raises WaitTimeout (looked at as often as something comes)."""
        follow = wait_for_job if by == "poll" else wait_with_events
        return await self._runner.run(follow(self._policy, job_id, timeout_s, on_progress))

    def events(self, job_id: str, *, last_event_id: str | None = None) -> AsyncIterator[JobEvent]:
        """What happens to a job until it has ended, taken up again by itself after a break."""
        return self._runner.iterate(follow_job(self._policy, job_id, last_event_id))

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to stop; raises Conflict when it has ended otherwise."""
        return await self._runner.run(calls.cancel_job(self._policy, job_id))

    async def retry(self, job_id: str, *, idempotency_key: str | None = None) -> Job:
        """Make a new job of one that failed, was canceled or expired."""
        return await self._runner.run(calls.retry_job(self._policy, job_id, idempotency_key or str(uuid.uuid4())))

    async def delete(self, job_id: str) -> None:
        """Delete a job and its data; one that is deleted already is no error."""
        await self._runner.run(calls.delete_job(self._policy, job_id))

    async def artifacts(self, job_id: str) -> list[Artifact]:
        """The files of a job's result; none while it has not succeeded."""
        return await self._runner.run(calls.list_artifacts(self._policy, job_id))

    async def download(
        self,
        job_id: str,
        out: str | PathLike[str],
        *,
        names: Collection[str] | None = None,
        on_progress: OnProgress = ignore,
    ) -> list[Artifact]:
        """Save files of a result in a folder, each checked against its SHA-256; what is there already is not fetched again."""
        return await self._runner.run(download_all(self._policy, job_id, Path(out), names, on_progress))
