"""The API's side of the queue of queries (asynchronous): offer one, wait for its reply, never beyond its deadline."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from typing import Any, Literal

import redis
from pydantic import ValidationError

from services.adapters.job_scripts import script
from services.adapters.redis_client import AsyncClient
from services.adapters.settings import Settings
from services.contract.localisation_messages import QueryMessage, Reply

GRACE_MS = 2_000  # a query's photographs are kept so long beyond its deadline
LISTEN_S = 1.0  # so often somebody who waits learns that no worker is left
AWAY_PAUSE_S = 0.2

RefusedBecause = Literal["no_worker", "late", "full", "too_late"]


class QueryRefused(Exception):
    """A query is not answered; `wait_ms` is how long it would have waited."""

    def __init__(self, reason: RefusedBecause, wait_ms: float = 0.0) -> None:
        super().__init__(reason)
        self.reason: RefusedBecause = reason
        self.wait_ms = wait_ms


class LocalisationClient:
    """One per application. One connection listens for all replies from the first query on."""

    def __init__(self, settings: Settings, client: AsyncClient) -> None:
        self._settings = settings
        self._redis = client
        self._prefix = settings.key_prefix + "localisation:"
        self._replies = f"{self._prefix}replies:{secrets.token_hex(8)}"
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._listener: asyncio.Task[None] | None = None
        self._script: Any = None

    async def ask(self, message: QueryMessage, parts: Mapping[str, bytes], deadline_ms: int) -> Reply:
        """Have a query answered.

        Raises:
            QueryRefused: no worker lives, or the deadline cannot be met, or was not.
            redis.RedisError: the queue does not answer.
        """
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen(), name="localisation-replies")
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[message.id] = future
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                await self._offer(message, parts, deadline_ms)
                return await future
        except TimeoutError:
            await self._withdraw(message.id)
            raise QueryRefused("too_late") from None
        except (QueryRefused, asyncio.CancelledError):
            await self._withdraw(message.id)
            raise
        finally:
            del self._waiting[message.id]

    async def close(self) -> None:
        """Stop to listen."""
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener

    async def workers(self) -> int:
        """Say how many workers live."""
        seconds, micro = await self._redis.time()
        return int(await self._redis.zcount(self._prefix + "workers", f"({seconds * 1000 + micro / 1000:.0f}", "+inf"))

    async def _withdraw(self, query_id: str) -> None:
        """Remove the photographs of a query that nobody waits for: a worker that meets it drops it unread."""
        with contextlib.suppress(redis.RedisError):
            await asyncio.shield(self._redis.unlink(f"{self._prefix}query:{query_id}"))

    async def _offer(self, message: QueryMessage, parts: Mapping[str, bytes], deadline_ms: int) -> None:
        if self._script is None:
            self._script = self._redis.register_script(script("localisation_offer"))
        limits = self._settings
        document = message.model_dump_json(exclude_none=True).encode()
        size = len(document) + sum(len(data) for data in parts.values())
        facts: list[Any] = [limits.key_prefix, message.id, deadline_ms, GRACE_MS, self._replies]
        facts += [limits.localisation_max_waiting, limits.localisation_queue_bytes, size, "doc", document]
        state, wait_ms = await self._script(args=[*facts, *(item for pair in parts.items() for item in pair)])
        if state != "accepted":
            raise QueryRefused(state, float(wait_ms))

    async def _listen(self) -> None:
        while True:
            try:
                found = await self._redis.blpop([self._replies], timeout=LISTEN_S)
                if found is not None:
                    self._deliver(found[1])
                elif self._waiting and await self.workers() == 0:
                    self._fail(QueryRefused("no_worker"))
            except redis.RedisError as error:
                self._fail(error)
                await asyncio.sleep(AWAY_PAUSE_S)

    def _deliver(self, document: str) -> None:
        try:
            reply = Reply.model_validate_json(document)
        except ValidationError:
            return
        future = self._waiting.get(reply.id)
        if future is not None and not future.done():
            future.set_result(reply)

    def _fail(self, error: Exception) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
