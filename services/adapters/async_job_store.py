"""The jobs in Redis for an event loop: what an API needs of `JobStore`, with the same scripts, steps and names."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

from services.adapters import transitions
from services.adapters.job_scripts import ABSENT, from_redis_time, script, swap_arguments
from services.adapters.job_store import (
    Events,
    Found,
    Ids,
    JobExists,
    JobNotFound,
    Page,
    Records,
    Step,
    index_of,
    matches,
    read_events,
)
from services.adapters.redis_client import AsyncClient, connect_async
from services.adapters.settings import Settings
from services.contract.jobs import JobRecord, ProgressReport
from services.contract.states import JobStatus

POLL_FIRST_S = 0.05
POLL_LAST_S = 0.4


class AsyncJobStore:
    """See `JobStore`: every method here does what the one of the same name does there."""

    def __init__(self, settings: Settings, client: AsyncClient | None = None) -> None:
        self.settings = settings
        self.redis = client or connect_async(settings)
        self.prefix = settings.key_prefix
        self._scripts: dict[str, Any] = {}

    async def close(self) -> None:
        """Close the connections."""
        await self.redis.aclose()

    async def create(self, record: JobRecord) -> None:
        """Store a new job; raises JobExists."""
        if not await self._swap(record, ABSENT) and await self.get(record.id) != record:
            raise JobExists(f"{record.id} exists already")

    async def get(self, job_id: str) -> JobRecord | None:
        """Read a job."""
        return (await self.read(job_id))[0]

    async def read(self, job_id: str) -> tuple[JobRecord | None, datetime]:
        """Read a job and the server's time."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.hget(self.prefix + "job:" + job_id, "doc")
        pipe.time()
        document, server_time = await pipe.execute()
        return JobRecord.model_validate_json(document) if document else None, from_redis_time(server_time)

    async def replace(self, record: JobRecord, expected_version: int) -> bool:
        """Write a record if its version in the store is still the expected one."""
        return await self._swap(record, expected_version)

    async def request_cancel(self, job_id: str) -> JobRecord:
        """Ask a job to stop; a job that has ended stays as it is."""
        return await self._change(job_id, transitions.request_cancel) or await self.require(job_id)

    async def mark_deleted(self, job_id: str) -> JobRecord:
        """Leave a tombstone of a job that has ended; a job that has not stays as it is."""
        return await self._change(job_id, transitions.delete) or await self.require(job_id)

    async def require(self, job_id: str) -> JobRecord:
        """Read a job; raises JobNotFound."""
        record = await self.get(job_id)
        if record is None:
            raise JobNotFound(f"{job_id} is not known")
        return record

    async def wait_for_change(self, job_id: str, version: int, timeout_s: float) -> JobRecord | None:
        """Wait until a job's version is another one, at most so long; then give the record.

        The version is asked for a few times a second: that needs no connection of its own for each waiting client and
        survives a restart of the server.
        """
        deadline, pause = time.monotonic() + timeout_s, POLL_FIRST_S
        while True:
            current = await self.redis.hget(self.prefix + "job:" + job_id, "version")
            left = deadline - time.monotonic()
            if current is None or int(current) != version or left <= 0:
                return await self.get(job_id)
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, POLL_LAST_S)

    async def list(
        self, tenant: str, status: JobStatus | None = None, label: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page:
        """List a tenant's jobs, newest first, and the cursor of the next page. `label` is "key" or "key=value"."""
        found: Records = []
        while True:
            ids, records = await self._page(tenant, status, cursor, limit)
            for job_id, record in zip(ids, records, strict=True):
                cursor = job_id
                if record is not None and matches(record, label):
                    found.append(record)
                if len(found) == limit:
                    return found, cursor
            if len(ids) < limit:
                return found, None

    async def queue_position(self, job_id: str) -> int | None:
        """Say how many jobs stand before this one; None when it is not queued."""
        position = await self.redis.zrank(self.prefix + "queued", job_id)
        return None if position is None else int(position)

    async def progress(self, job_id: str) -> ProgressReport | None:
        """Read how far a job is."""
        document = await self.redis.get(self.prefix + "progress:" + job_id)
        return ProgressReport.model_validate_json(document) if document else None

    async def events(self, job_id: str, after: str = "0-0", count: int = 100, block_ms: int | None = None) -> Events:
        """Read what happened after an event; with `block_ms`, wait so long for something to happen."""
        key = self.prefix + "events:" + job_id
        if block_ms is None:
            return read_events(await self.redis.xrange(key, "(" + after, "+", count=count))
        answer = await self.redis.xread({key: after}, count=count, block=block_ms)
        return [event for _, entries in answer or [] for event in read_events(entries)]

    async def first_event_id(self, job_id: str) -> str | None:
        """The oldest event that is still kept; None when there is none."""
        entries = await self.redis.xrange(self.prefix + "events:" + job_id, "-", "+", count=1)
        return entries[0][0] if entries else None

    async def count_open_webhooks(self) -> int:
        """Say how many jobs have events that their webhooks have not been told."""
        return int(await self.redis.zcard(self.prefix + "hooks"))

    async def counts(self) -> dict[str, int]:
        """Say how many jobs are queued and running."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.zcard(self.prefix + "queued")
        pipe.zcard(self.prefix + "leases")
        queued, running = await pipe.execute()
        return {"queued": int(queued), "running": int(running)}

    async def _change(self, job_id: str, step: Step) -> JobRecord | None:
        while True:
            record, now = await self.read(job_id)
            if record is None:
                raise JobNotFound(f"{job_id} is not known")
            following = step(record, now)
            if following is None or await self._swap(following, record.version):
                return following

    async def _swap(self, record: JobRecord, expected: int) -> bool:
        if "swap" not in self._scripts:
            self._scripts["swap"] = self.redis.register_script(script("swap"))
        return bool(await self._scripts["swap"](args=swap_arguments(record, expected, False, self.settings)))

    async def _page(self, tenant: str, status: JobStatus | None, cursor: str | None, limit: int) -> tuple[Ids, Found]:
        ids = await self.redis.zrevrangebylex(
            index_of(self.prefix, tenant, status), f"({cursor}" if cursor else "+", "-", 0, limit
        )
        pipe = self.redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hget(self.prefix + "job:" + job_id, "doc")
        return ids, [JobRecord.model_validate_json(document) if document else None for document in await pipe.execute()]
