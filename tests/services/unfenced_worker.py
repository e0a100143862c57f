"""A worker with the fencing check switched off: the negative control of the tests for paused workers. Not a setting."""

from __future__ import annotations

import sys

from services.adapters.job_store import JobStore
from services.adapters.settings import Settings
from services.adapters.transitions import HELD
from services.contract.jobs import JobRecord, ProgressReport
from services.contract.states import JobStatus


def holds_anything(self: JobStore, record: JobRecord, token: str) -> bool:
    return record.status in HELD


def beat_for_whoever(self: JobStore, job_id: str, token: str, progress: ProgressReport | None = None) -> JobStatus | None:
    record = self.get(job_id)
    return fenced_heartbeat(self, job_id, (record.token if record else None) or token, progress)


# At import, so that the child, which imports this module as its main one, is unfenced too.
fenced_heartbeat = JobStore.heartbeat
JobStore.holds = holds_anything  # type: ignore[method-assign]
JobStore.heartbeat = beat_for_whoever  # type: ignore[method-assign]

if __name__ == "__main__":
    from services.worker.app import run_worker

    sys.exit(run_worker(Settings()))
