"""A job as it stands, read in one round trip: record, progress, place in the queue."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from services.adapters.async_job_store import AsyncJobStore
from services.api.job_views import view_job
from services.contract.jobs import JobRecord, ProgressReport


@dataclass(frozen=True)
class JobSnapshot:
    """What is known of a job at one moment."""

    record: JobRecord
    progress: ProgressReport | None
    position: int | None  # jobs before it in the queue

    def body(self, base: str) -> bytes:
        """The job document that clients get."""
        return view_job(self.record, base, self.progress, self.position).model_dump_json().encode()


async def read_snapshots(store: AsyncJobStore, job_ids: list[str]) -> list[JobSnapshot | None]:
    """Read several jobs; None for those that are not known."""
    if not job_ids:
        return []
    pipe = store.redis.pipeline(transaction=False)
    for job_id in job_ids:
        pipe.hget(f"{store.prefix}job:{job_id}", "doc")
        pipe.get(f"{store.prefix}progress:{job_id}")
        pipe.zrank(f"{store.prefix}queued", job_id)
    answers = await pipe.execute()
    return [_snapshot(*answers[at : at + 3]) for at in range(0, len(answers), 3)]


async def read_snapshot(store: AsyncJobStore, job_id: str) -> JobSnapshot | None:
    """Read one job; None when it is not known."""
    return (await read_snapshots(store, [job_id]))[0]


def entity_tag(body: bytes) -> str:
    """A strong ETag of these bytes."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def _snapshot(document: str | None, progress: str | None, position: int | None) -> JobSnapshot | None:
    if document is None:
        return None
    report = ProgressReport.model_validate_json(progress) if progress else None
    return JobSnapshot(JobRecord.model_validate_json(document), report, position)
