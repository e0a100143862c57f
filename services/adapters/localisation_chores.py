"""Background work of the localisation workers: references to encode, scenes to freeze. Taken by lease, so that none is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.adapters.job_scripts import script
from services.adapters.redis_client import Client
from services.adapters.settings import Settings


@dataclass(frozen=True)
class Chore:
    """One piece of work."""

    kind: str  # reference or map
    id: str
    tries: int  # this one counted

    @property
    def member(self) -> str:
        """Its name in Redis."""
        return f"{self.kind}:{self.id}"


class ChoreList:
    """The list in Redis; raises redis.RedisError."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self._redis = client
        self._prefix = settings.key_prefix
        self._lease_ms = round(settings.lease_s * 1000)
        self._claim: Any = client.register_script(script("localisation_claim"))

    def take(self) -> Chore | None:
        """Take what waits longest; it comes back when it is not renewed within a lease."""
        found = self._claim(args=[self._prefix, self._lease_ms])
        if not found:
            return None
        kind, _, record_id = found[0].partition(":")
        return Chore(kind, record_id, int(found[1]))

    def renew(self, chore: Chore) -> bool:
        """Keep a piece of work; False when it is not wanted any more."""
        seconds, micro = self._redis.time()
        until = seconds * 1000 + micro // 1000 + self._lease_ms
        changed = self._redis.zadd(f"{self._prefix}localisation:chores", {chore.member: until}, xx=True, ch=True)
        return bool(changed) or self._redis.zscore(f"{self._prefix}localisation:chores", chore.member) is not None

    def postpone(self, chore: Chore, seconds: float) -> None:
        """Do it later, through no fault of its own: this try does not count."""
        now_s, micro = self._redis.time()
        at = now_s * 1000 + micro // 1000 + round(seconds * 1000)
        self._redis.zadd(f"{self._prefix}localisation:chores", {chore.member: at}, xx=True)
        self._redis.hincrby(f"{self._prefix}localisation:tries", chore.member, -1)

    def done(self, chore: Chore) -> None:
        """Be done with it."""
        self._redis.zrem(f"{self._prefix}localisation:chores", chore.member)
        self._redis.hdel(f"{self._prefix}localisation:tries", chore.member)

    def waiting(self) -> int:
        """Say how much there is."""
        return int(self._redis.zcard(f"{self._prefix}localisation:chores"))
