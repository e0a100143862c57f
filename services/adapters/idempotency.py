"""Entries of `Idempotency-Key`s in Redis: what a key stands for, and the answer that is given again.

An entry is a hash: owner (the try at work), lease (until when it counts as alive, ms), job (the id any try uses), fingerprint
(of the request, once it was read), answer. It lives in Redis alone, for 24 h; a crash of Redis may lose the last second of them.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Literal

from services.adapters.job_scripts import script
from services.adapters.redis_client import AsyncClient
from services.adapters.settings import Settings

KEPT_MS = 24 * 3600 * 1000
Step = Literal["hold", "bind", "finish", "release"]


@dataclass(frozen=True)
class Busy:
    """Another try under this key is at work."""

    seconds: float  # until it counts as dead, unless it is heard again


@dataclass(frozen=True)
class Done:
    """The request under this key was answered."""

    job_id: str
    fingerprint: str
    answer: str


@dataclass(frozen=True)
class Taken:
    """This try owns the key."""

    entry: str
    owner: str
    job_id: str  # of the job to make; an earlier try that died may have made it
    fingerprint: str | None  # of the request of an earlier try that died


class IdempotencyStore:
    """Begins tries under keys and moves them on."""

    def __init__(self, settings: Settings, client: AsyncClient) -> None:
        self.lease_s = settings.idempotency_lease_s
        self._prefix = settings.key_prefix + "idempotency:"
        self._redis = client
        self._scripts: dict[str, Any] = {}

    async def begin(self, tenant: str, key: str, job_id: str) -> Busy | Done | Taken:
        """Begin a try; `job_id` is for the job it may make, unless an earlier try that died has chosen one."""
        entry = f"{self._prefix}{tenant}:{hashlib.sha256(key.encode()).hexdigest()}"
        owner = secrets.token_hex(8)
        state, *facts = await self._run("idempotency_begin", entry, owner, job_id, self._lease_ms, KEPT_MS)
        if state == "busy":
            return Busy(int(facts[0]) / 1000)
        if state == "done":
            return Done(*facts)
        return Taken(entry, owner, facts[0], facts[1] or None)

    async def step(self, held: Taken, step: Step, value: str = "") -> bool:
        """Move a try on; False when it was not heard for a lease and another has begun."""
        return bool(await self._run("idempotency_step", held.entry, held.owner, step, value, self._lease_ms, KEPT_MS))

    @property
    def _lease_ms(self) -> int:
        return round(self.lease_s * 1000)

    async def _run(self, name: str, *arguments: Any) -> Any:
        if name not in self._scripts:
            self._scripts[name] = self._redis.register_script(script(name))
        return await self._scripts[name](args=list(arguments))
