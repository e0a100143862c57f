"""Wakes everyone who waits for a job: one connection per process reads the event streams of all watched jobs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from redis.exceptions import RedisError

from services.adapters.async_job_store import AsyncJobStore
from services.adapters.redis_client import AsyncClient
from services.api.metrics import Metrics

log = logging.getLogger("services.api.job_watch")

BLOCK_MS = 1000  # how long the server holds a read in which nothing happens
PAUSE_S = 0.5  # between tries while Redis is away


class Watcher:
    """One waiting client. `wait` may return early: look at the job again."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Let `wait` return."""
        self._woken.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until something happened since the last call; False when nothing did in time."""
        try:
            await asyncio.wait_for(self._woken.wait(), timeout_s)
        except TimeoutError:
            return False
        self._woken.clear()
        return True


class JobWatch:
    """Watches jobs while someone waits for them."""

    def __init__(self, store: AsyncJobStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._watchers: dict[str, set[Watcher]] = {}
        self._last: dict[str, str] = {}  # job -> the newest event that was read
        self._wanted = asyncio.Event()
        self._connection: int | None = None  # Redis' id of the connection that waits
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(self._read_for_ever(), name="job-watch")

    async def stop(self) -> None:
        """End, and wake everyone."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._wake_all()

    @contextlib.contextmanager
    def watch(self, job_id: str) -> Iterator[Watcher]:
        """Watch a job. What happens after this call wakes the watcher, so look at the job after it."""
        watcher = Watcher()
        self._watchers.setdefault(job_id, set()).add(watcher)
        self._metrics.watchers.inc()
        self._wanted.set()
        interruption = asyncio.create_task(self._interrupt()) if job_id not in self._last else None
        try:
            yield watcher
        finally:
            if interruption is not None:
                interruption.cancel()
            self._metrics.watchers.dec()
            left = self._watchers[job_id]
            left.discard(watcher)
            if not left:
                del self._watchers[job_id]
                self._last.pop(job_id, None)

    async def last_event_id(self, job_id: str) -> str:
        """The newest event of a job; "0-0" when there is none."""
        entries = await self._store.redis.xrevrange(self._key(job_id), count=1)
        return str(entries[0][0]) if entries else "0-0"

    async def has_event(self, job_id: str, event_id: str) -> bool:
        """Say whether an event is still kept."""
        return bool(await self._store.redis.xrange(self._key(job_id), event_id, event_id, count=1))

    async def _read_for_ever(self) -> None:
        while True:
            try:
                async with self._store.redis.client() as client:
                    while True:
                        await self._read_once(client)
            except RedisError as error:
                log.warning("Redis does not answer: %s", error)
            except Exception:
                log.exception("reading the event streams failed")
            await asyncio.sleep(PAUSE_S)
            self._last.clear()  # after a restart the streams may be others
            self._wake_all()

    async def _read_once(self, client: AsyncClient) -> None:
        await self._wanted.wait()
        if not self._watchers:
            self._wanted.clear()
            return
        for job_id in [job_id for job_id in self._watchers if job_id not in self._last]:
            self._last[job_id] = await self.last_event_id(job_id)
            self._wake(job_id)  # what happened before the first read is not in the stream that follows
        streams = {self._key(job_id): last for job_id, last in self._last.items() if job_id in self._watchers}
        if not streams:
            return
        self._connection = await client.client_id()
        answer = await client.xread(streams, block=BLOCK_MS)
        self._connection = None
        for key, entries in answer or []:
            job_id = key.removeprefix(self._key(""))
            if job_id in self._watchers:
                self._last[job_id] = entries[-1][0]
                self._wake(job_id)

    async def _interrupt(self) -> None:
        """Let the reader begin again with the jobs that are watched now; without the right to, it does within BLOCK_MS."""
        if self._connection is not None:
            with contextlib.suppress(RedisError):
                await self._store.redis.client_unblock(self._connection)

    def _wake(self, job_id: str) -> None:
        for watcher in self._watchers.get(job_id, ()):
            watcher.wake()

    def _wake_all(self) -> None:
        for job_id in self._watchers:
            self._wake(job_id)

    def _key(self, job_id: str) -> str:
        return f"{self._store.prefix}events:{job_id}"
