"""Answers of slow reads, kept for a few seconds, so that not every request asks the object store."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from anyio import CapacityLimiter, to_thread

from services.adapters.objects import ObjectStoreError

T = TypeVar("T")
ENTRIES = 4096  # kept at most; the oldest goes first
RETRY_S = 1.0  # pause between tries while the store is away


@dataclass(frozen=True)
class _Entry(Generic[T]):
    value: T
    read_at: float  # seconds, monotonic
    asked_at: float  # when the store was last asked, in vain perhaps


class ShortCache(Generic[T]):
    """Remembers what `read` has answered for `fresh_s`, and for `stale_s` while the store does not answer."""

    def __init__(self, read: Callable[[str], T], threads: CapacityLimiter, fresh_s: float, stale_s: float) -> None:
        self._read = read
        self._threads = threads
        self._fresh_s = fresh_s
        self._stale_s = stale_s
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._reading: dict[str, asyncio.Task[T]] = {}

    async def get(self, name: str, at_most_s: float | None = None) -> T:
        """Give the answer for `name`, read at most `at_most_s` ago; raises ObjectStoreError when none is to be had."""
        entry, now = self._entries.get(name), time.monotonic()
        fresh_s = self._fresh_s if at_most_s is None else at_most_s
        if entry is not None and (now - entry.read_at < fresh_s or now - entry.asked_at < min(RETRY_S, fresh_s)):
            return entry.value
        try:
            return await self._ask(name)
        except ObjectStoreError:
            entry = self._entries.get(name)
            if entry is None or now - entry.read_at > self._stale_s:
                raise
            self._entries[name] = _Entry(entry.value, entry.read_at, time.monotonic())
            return entry.value

    def forget(self, name: str) -> None:
        """Ask the store next time."""
        self._entries.pop(name, None)

    async def _ask(self, name: str) -> T:
        """Read once, however many wait for it."""
        if name not in self._reading:
            self._reading[name] = asyncio.create_task(self._read_one(name))
        return await asyncio.shield(self._reading[name])

    async def _read_one(self, name: str) -> T:
        began = time.monotonic()
        try:
            value = await to_thread.run_sync(self._read, name, limiter=self._threads)
        finally:
            del self._reading[name]
        self._entries[name] = _Entry(value, began, began)
        self._entries.move_to_end(name)
        while len(self._entries) > ENTRIES:
            self._entries.popitem(last=False)
        return value
