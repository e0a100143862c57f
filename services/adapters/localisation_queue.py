"""The localisation worker's side of the queue of queries (synchronous): a stream in Redis, and a list of replies per API process.

    localisation:queries        stream: query, deadline (ms, the server's time), reply, bytes  one group, a consumer per worker
    localisation:query:<id>     hash: doc and the bytes of the photographs; gone by itself after the deadline
    localisation:replies:<api>  list of replies; gone by itself when that API is
    localisation:workers        names of workers by the time at which they count as dead     localisation:pace  ms per query

An entry leaves the stream with its reply. What a dead worker held is taken over by the next one to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from pydantic import ValidationError
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from services.adapters.processes import is_alive
from services.adapters.redis_client import OPTIONS, RETRIES
from services.adapters.settings import Settings
from services.contract.localisation_messages import QueryMessage, Reply

GROUP = "workers"
FORGOTTEN_AFTER_MS = 6_000  # a worker that was not heard for so long counts as dead
REPLIES_KEPT_MS = 60_000
TAKEN_OVER_AFTER_MS = 300  # keeps two workers from taking over the same entries
SCANNED = 100


@dataclass(frozen=True)
class WaitingQuery:
    """A query as the stream tells of it; its photographs are not read yet."""

    entry: str
    id: str
    deadline_ms: float  # the server's time
    queued_ms: float
    reply_to: str
    tries: int = 1  # this one counted


@dataclass(frozen=True)
class LoadedQuery:
    """A query with all it needs."""

    waiting: WaitingQuery
    message: QueryMessage
    parts: dict[str, bytes]


class QueryQueue:
    """The queue as one worker sees it. Raises redis.RedisError."""

    def __init__(self, settings: Settings, worker: str) -> None:
        options = {**OPTIONS, "decode_responses": False}  # photographs are no text
        self._redis: Any = redis.Redis.from_url(
            settings.redis_url, retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), RETRIES), **options
        )
        self._prefix = settings.key_prefix + "localisation:"
        self._stream = self._prefix + "queries"
        self.worker = worker

    def open(self) -> None:
        """Make the group of workers, once."""
        try:
            self._redis.xgroup_create(self._stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def beat(self, pace_ms: float) -> None:
        """Say that this worker lives and how long a query takes it."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.zadd(self._prefix + "workers", {self.worker: self.now_ms() + FORGOTTEN_AFTER_MS})
        pipe.hset(self._prefix + "pace", self.worker, f"{pace_ms:.1f}")
        pipe.execute()

    def leave(self) -> None:
        """Take no more queries."""
        self._forget(self.worker)

    def now_ms(self) -> float:
        """The server's time."""
        seconds, micro = self._redis.time()
        return float(seconds) * 1000 + float(micro) / 1000

    def take(self, count: int, block_ms: int) -> list[WaitingQuery]:
        """Take up to `count` queries that wait; wait so long for the first one."""
        try:
            answer = self._redis.xreadgroup(GROUP, self.worker, {self._stream: ">"}, count=count, block=block_ms)
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self.open()  # Redis has lost it
            return []
        return [_read_entry(entry, fields) for _, entries in answer or [] for entry, fields in entries]

    def take_over(self) -> list[WaitingQuery]:
        """Take the queries that dead workers held."""
        taken: list[WaitingQuery] = []
        alive = {name.decode() for name in self._redis.zrangebyscore(self._prefix + "workers", self.now_ms(), "+inf")}
        for consumer in self._redis.xinfo_consumers(self._stream, GROUP):
            name = consumer["name"].decode()
            if name == self.worker or (name in alive and not self._died_here(name)):
                continue
            held = self._redis.xpending_range(self._stream, GROUP, "-", "+", SCANNED, consumername=name)
            if held:
                taken += self._claim({each["message_id"]: int(each["times_delivered"]) for each in held})
            elif int(consumer["idle"]) > FORGOTTEN_AFTER_MS:
                self._redis.xgroup_delconsumer(self._stream, GROUP, name)
                self._forget(name)
        return taken

    def load(self, queries: Sequence[WaitingQuery]) -> list[LoadedQuery | None]:
        """Read queries with their photographs; None for one whose time is over."""
        pipe = self._redis.pipeline(transaction=False)
        for query in queries:
            pipe.hgetall(self._prefix + "query:" + query.id)
        return [_load(query, parts) for query, parts in zip(queries, pipe.execute(), strict=True)]

    def answer(self, query: WaitingQuery, reply: Reply) -> None:
        """Send a reply and be done with the query."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.rpush(query.reply_to, reply.model_dump_json())
        pipe.pexpire(query.reply_to, REPLIES_KEPT_MS)
        self._end(pipe, query)

    def drop(self, query: WaitingQuery) -> None:
        """Be done with a query that nobody waits for any more."""
        self._end(self._redis.pipeline(transaction=False), query)

    def _end(self, pipe: Any, query: WaitingQuery) -> None:
        pipe.xack(self._stream, GROUP, query.entry)
        pipe.xdel(self._stream, query.entry)
        pipe.delete(self._prefix + "query:" + query.id)
        pipe.execute()

    def _claim(self, delivered: dict[bytes, int]) -> list[WaitingQuery]:
        entries = self._redis.xclaim(self._stream, GROUP, self.worker, TAKEN_OVER_AFTER_MS, list(delivered))
        return [_read_entry(entry, fields, delivered[entry] + 1) for entry, fields in entries if fields]

    def _died_here(self, name: str) -> bool:
        """Whether a worker of this very host is gone, though it is not forgotten yet."""
        host, _, pid = name.rpartition("/")
        return host == self.worker.rpartition("/")[0] and pid.isdecimal() and not is_alive(int(pid))

    def _forget(self, name: str) -> None:
        pipe = self._redis.pipeline(transaction=False)
        pipe.zrem(self._prefix + "workers", name)
        pipe.hdel(self._prefix + "pace", name)
        pipe.execute()


def _read_entry(entry: bytes, fields: dict[bytes, bytes], tries: int = 1) -> WaitingQuery:
    return WaitingQuery(
        entry=entry.decode(),
        id=fields[b"query"].decode(),
        deadline_ms=float(fields[b"deadline"]),
        queued_ms=float(entry.partition(b"-")[0]),
        reply_to=fields[b"reply"].decode(),
        tries=tries,
    )


def _load(query: WaitingQuery, parts: dict[bytes, bytes]) -> LoadedQuery | None:
    try:
        message = QueryMessage.model_validate_json(parts.pop(b"doc", b""))
    except ValidationError:
        return None
    return LoadedQuery(query, message, {name.decode(): data for name, data in parts.items()})
