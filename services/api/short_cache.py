"""Answers of slow reads, kept for a few seconds, so that hardly a request waits for the object store.

An answer is read again in the background when half its time is over; nobody waits as long as it is good. Older ones are given
only while the store does not answer.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from anyio import CapacityLimiter, to_thread

from services.adapters.objects import ObjectStoreError

T = TypeVar("T")
ENTRIES = 4096  # kept at most; the oldest goes first
RETRY_S = 1.0  # pause after a read that failed
WAIT_S = 2.0  # for a store that hangs, when there is an older answer


@dataclass(frozen=True)
class _Entry(Generic[T]):
    value: T
    read_at: float  # seconds, monotonic
    failed_at: float = float("-inf")  # when the store was last asked in vain


class ShortCache(Generic[T]):
    """Remembers what `read` has answered for `fresh_s`, and for `stale_s` while the store does not answer."""

    def __init__(self, read: Callable[[str], T], threads: CapacityLimiter, fresh_s: float, stale_s: float) -> None:
        self._read = read
        self._threads = threads
        self._fresh_s = fresh_s
        self._stale_s = stale_s
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._reading: dict[str, tuple[asyncio.Task[T], float]] = {}  # the read and when it began

    async def get(self, name: str, at_most_s: float | None = None) -> T:
        """Give the answer for `name`, read at most `at_most_s` ago; raises ObjectStoreError when none is to be had."""
        entry, now = self._entries.get(name), time.monotonic()
        if entry is None:
            return await asyncio.shield(self._begin(name))
        fresh_s = self._fresh_s if at_most_s is None else at_most_s
        age = now - entry.read_at
        if age < fresh_s / 2 or (now - entry.failed_at < min(RETRY_S, fresh_s) and age < self._stale_s):
            return entry.value
        reading = self._begin(name)
        if age < fresh_s:
            return entry.value
        try:
            left = self._reading[name][1] + WAIT_S - now
            return await asyncio.wait_for(asyncio.shield(reading), max(0.0, left))
        except (ObjectStoreError, TimeoutError):
            if age < self._stale_s:
                return entry.value
            return await asyncio.shield(self._begin(name))

    def forget(self, name: str) -> None:
        """Ask the store next time."""
        self._entries.pop(name, None)

    def _begin(self, name: str) -> asyncio.Task[T]:
        """Read once, however many wait for it."""
        if name not in self._reading:
            task = asyncio.create_task(self._read_one(name))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting for it
            self._reading[name] = task, time.monotonic()
        return self._reading[name][0]

    async def _read_one(self, name: str) -> T:
        began = time.monotonic()
        try:
            value = await to_thread.run_sync(self._read, name, limiter=self._threads)
        except ObjectStoreError:
            if name in self._entries:
                self._entries[name] = replace(self._entries[name], failed_at=time.monotonic())
            raise
        finally:
            del self._reading[name]
        self._entries[name] = _Entry(value, began)
        self._entries.move_to_end(name)
        while len(self._entries) > ENTRIES:
            self._entries.popitem(last=False)
        return value
