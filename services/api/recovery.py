"""A Redis that came back empty: whoever lists jobs, or changes what others may need, waits until its records are put back."""

from __future__ import annotations

import asyncio

from anyio import to_thread

from services.adapters.async_job_store import AsyncJobStore
from services.adapters.job_documents import JobDocuments
from services.adapters.job_store import JobStore
from services.adapters.reaper import recover_from_restart
from services.api.problems import unavailable


class Recovery:
    """Puts the records back when Redis has none. A single job is read from its durable copy meanwhile."""

    def __init__(self, jobs: AsyncJobStore, blocking_jobs: JobStore, documents: JobDocuments) -> None:
        self._jobs = jobs
        self._parts = (blocking_jobs, documents)
        self._lock = asyncio.Lock()

    async def ensure(self) -> None:
        """Return at once when Redis has the records, else when they are back; raises ProblemError 503 when that cannot be."""
        if await self._is_done():
            return
        async with self._lock:
            if await self._is_done():
                return
            await to_thread.run_sync(recover_from_restart, *self._parts)
            if not await self._is_done():
                raise unavailable("the job store")

    async def _is_done(self) -> bool:
        return bool(await self._jobs.redis.exists(self._jobs.prefix + "server"))
