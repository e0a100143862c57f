"""Finding a job for a caller, and waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable

from anyio import to_thread

from services.api.auth import Caller
from services.api.job_snapshot import JobSnapshot, read_snapshot
from services.api.problems import ProblemError
from services.api.wiring import Services
from services.contract.codes import ProblemCode
from services.contract.ids import is_id

RECHECK_S = 5.0  # a waiting client looks again so often even if nothing wakes it; the place in the queue changes silently


async def find_job(services: Services, caller: Caller, job_id: str) -> JobSnapshot:
    """Read a job that the caller may see.

    Raises:
        ProblemError: 404 when there is none (or it is another tenant's), 410 when it was deleted.
    """
    snapshot = await _read(services, job_id) if is_id("job", job_id) else None
    if snapshot is None or snapshot.record.tenant != caller.tenant:
        raise ProblemError(404, ProblemCode.NOT_FOUND, f"there is no job {job_id[:60]}")
    if snapshot.record.deleted_at is not None:
        raise ProblemError(410, ProblemCode.GONE, f"job {job_id} was deleted at {snapshot.record.deleted_at.isoformat()}")
    return snapshot


async def wait_for_job(
    services: Services, caller: Caller, job_id: str, seconds: float, enough: Callable[[JobSnapshot], bool]
) -> JobSnapshot:
    """Wait until a job satisfies `enough`, at most so long; gives it as it is then. Raises as `find_job`."""
    until = time.monotonic() + seconds
    with services.watch.watch(job_id) as watcher:
        while True:
            snapshot = await find_job(services, caller, job_id)
            left = until - time.monotonic()
            if enough(snapshot) or left <= 0:
                return snapshot
            await watcher.wait(min(left, RECHECK_S))


async def _read(services: Services, job_id: str) -> JobSnapshot | None:
    """Read from Redis; what it has lost in a crash is in the durable copy until the reaper has put it back."""
    snapshot = await read_snapshot(services.jobs, job_id)
    if snapshot is not None:
        return snapshot
    record = await to_thread.run_sync(services.documents.read, job_id, limiter=services.store_threads)
    return None if record is None else JobSnapshot(record, None, None)
