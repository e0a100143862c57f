"""Blocking work beside a body that is being read: a few photographs are stored while the next ones arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from anyio import CapacityLimiter, to_thread

LANES = 4  # of one request; a store far away answers slowly, and each photograph in work takes up to its size in temporary files


class UploadLanes:
    """Runs work in threads, at most `LANES` at a time. Leaving the block waits for all of it, whatever happens."""

    def __init__(self, threads: CapacityLimiter) -> None:
        self._threads = threads
        self._free = asyncio.Semaphore(LANES)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, work: Callable[[], None]) -> None:
        """Begin a piece of work as soon as a lane is free; raises what an earlier piece has raised."""
        await self._free.acquire()
        self._tasks.append(asyncio.create_task(self._run(work)))
        self._raise_failures()

    async def finish(self) -> None:
        """Wait for all work; raises the first error."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._raise_failures()

    async def __aenter__(self) -> UploadLanes:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, work: Callable[[], None]) -> None:
        try:
            await to_thread.run_sync(work, limiter=self._threads)
        finally:
            self._free.release()

    def _raise_failures(self) -> None:
        for task in self._tasks:
            if task.done() and (error := task.exception()) is not None:
                raise error
