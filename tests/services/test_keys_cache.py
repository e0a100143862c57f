"""What the API remembers of the store for a moment: read once for many, renewed in time, kept while nobody answers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from anyio import CapacityLimiter

from services.adapters.objects import StorageUnavailable
from services.api import short_cache
from services.api.short_cache import ShortCache

FRESH_S = 0.4
STALE_S = 1.2


class Store:
    """A slow store that can go away, or hang."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.value = 0
        self.away = False
        self.may_answer = threading.Event()
        self.may_answer.set()

    def read(self, name: str) -> int:
        """Answer as the store does now."""
        self.asked.append(name)
        self.may_answer.wait(10)
        if self.away:
            raise StorageUnavailable("no answer")
        return self.value


def play(scene: Callable[[Store, ShortCache[int]], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        store = Store()
        try:
            await scene(store, ShortCache(store.read, CapacityLimiter(2), FRESH_S, STALE_S))
        finally:
            store.may_answer.set()

    asyncio.run(run())


def test_many_who_ask_at_once_are_answered_by_one_read() -> None:
    async def scene(store: Store, cache: ShortCache[int]) -> None:
        assert await asyncio.gather(*(cache.get("a") for _ in range(50))) == [0] * 50
        assert await cache.get("b") == 0
        assert store.asked == ["a", "b"]

    play(scene)


def test_an_answer_is_renewed_while_it_is_good_and_nobody_waits() -> None:
    async def scene(store: Store, cache: ShortCache[int]) -> None:
        await cache.get("a")
        store.value = 1
        await asyncio.sleep(FRESH_S * 0.6)
        store.may_answer.clear()  # whoever waited for the store now would wait for long
        assert await asyncio.wait_for(cache.get("a"), 0.1) == 0
        store.may_answer.set()
        await asyncio.sleep(0.1)
        assert await cache.get("a") == 1
        assert len(store.asked) == 2

    play(scene)


def test_an_old_answer_is_not_given_while_the_store_answers() -> None:
    async def scene(store: Store, cache: ShortCache[int]) -> None:
        await cache.get("a")
        store.value = 1
        await asyncio.sleep(FRESH_S + 0.05)
        assert await cache.get("a") == 1
        store.value = 2
        assert await cache.get("a", at_most_s=0.0) == 2
        store.value = 3
        cache.forget("a")
        assert await cache.get("a") == 3

    play(scene)


def test_while_the_store_is_away_the_last_answer_is_given_for_a_while() -> None:
    async def scene(store: Store, cache: ShortCache[int]) -> None:
        await cache.get("a")
        store.away = True
        await asyncio.sleep(FRESH_S + 0.05)
        asked = len(store.asked)
        assert [await cache.get("a") for _ in range(20)] == [0] * 20
        assert len(store.asked) - asked <= 2  # not with every request
        with pytest.raises(StorageUnavailable):
            await cache.get("b")
        await asyncio.sleep(STALE_S)
        with pytest.raises(StorageUnavailable):
            await cache.get("a")
        store.away, store.value = False, 5
        assert await cache.get("a") == 5

    play(scene)


def test_a_store_that_hangs_holds_up_known_names_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_cache, "WAIT_S", 0.2)

    async def scene(store: Store, cache: ShortCache[int]) -> None:
        await cache.get("a")
        await asyncio.sleep(FRESH_S + 0.05)
        store.may_answer.clear()
        began = time.monotonic()
        assert [await cache.get("a") for _ in range(3)] == [0] * 3
        assert 0.15 <= time.monotonic() - began < 0.6
        assert len(store.asked) == 2  # one read is on its way

    play(scene)


def test_names_that_were_never_good_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_cache, "ENTRIES", 10)

    async def scene(store: Store, cache: ShortCache[int]) -> None:
        for each in range(50):
            await cache.get(str(each))
        assert len(cache._entries) == 10
        assert cache._reading == {}

    play(scene)
