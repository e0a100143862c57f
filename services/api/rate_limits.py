"""How many requests a tenant may send: sliding windows in Redis, one for each scope, shared by all API processes.

Answers tell where a tenant stands in `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10). While Redis
does not answer nobody is held up: what needs Redis is refused with 503 by itself, and a limit must not be what fails.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis.asyncio
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.adapters.rates import NO_LIMIT, parse_rate
from services.adapters.settings import Settings
from services.api.problems import ProblemError
from services.contract.access import Scope, TenantRecord
from services.contract.codes import ProblemCode

if TYPE_CHECKING:
    from limits import RateLimitItem

log = logging.getLogger("services.api.rate_limits")

CONNECTIONS = 16
TIMEOUT_S = 1.0  # of Redis; then the request passes
PAUSE_S = 1.0  # without asking Redis again


@dataclass(frozen=True)
class Standing:
    """Where a tenant stands after a request."""

    scope: Scope
    rate: RateLimitItem
    passed: bool
    left: int  # requests that may follow at once
    reset_s: int  # until there are more

    def headers(self) -> dict[str, str]:
        """Tell it to the client."""
        return {
            "RateLimit-Policy": f'"{self.scope}";q={self.rate.amount};w={self.rate.get_expiry()}',
            "RateLimit": f'"{self.scope}";r={self.left};t={self.reset_s}',
        }

    def refusal(self) -> ProblemError:
        """Refuse the request that was one too many."""
        detail = (
            f"more than {self.rate.amount} requests of the kind {self.scope!r} in {self.rate.get_expiry()} s, "
            f"the limit of this tenant; try again in {self.reset_s} s"
        )
        headers = {"Retry-After": str(self.reset_s)}
        return ProblemError(429, ProblemCode.RATE_LIMITED, detail, headers=headers, retryable=True)


class RateLimits:
    """Counts requests. A rate that cannot be read is an error at the start (RateError)."""

    def __init__(self, settings: Settings) -> None:
        self._rates: dict[Scope, str] = dict(settings.rates)
        for rate in self._rates.values():
            if rate != NO_LIMIT:
                parse_rate(rate)
        # A retry without a pause: the first command on a connection from before a restart of Redis fails.
        self._pool = redis.asyncio.BlockingConnectionPool.from_url(
            settings.redis_url,
            max_connections=CONNECTIONS,
            timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
        )
        storage = RedisStorage(
            f"async+{settings.redis_url}",
            implementation="redispy",
            key_prefix=f"{settings.key_prefix}rates",
            connection_pool=self._pool,  # type: ignore[arg-type]
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._silent_until = 0.0

    async def take(self, tenant: TenantRecord, scope: Scope) -> Standing | None:
        """Count a request; None: there is no limit, or nobody can say."""
        text = self.rates_of(tenant).get(scope)
        if text is None or time.monotonic() < self._silent_until:
            return None
        rate = parse_rate(text)
        try:
            passed = await self._limiter.hit(rate, tenant.name, scope)
            window = await self._limiter.get_window_stats(rate, tenant.name, scope)
        except (redis.RedisError, OSError) as error:
            log.warning("Redis does not answer, requests are not counted: %s", error)
            self._silent_until = time.monotonic() + PAUSE_S
            return None
        reset_s = max(1, math.ceil(window.reset_time - time.time()))
        return Standing(scope, rate, passed, window.remaining if passed else 0, min(reset_s, rate.get_expiry()))

    def rates_of(self, tenant: TenantRecord) -> dict[Scope, str]:
        """The rates that hold for a tenant."""
        return {scope: rate for scope, rate in {**self._rates, **tenant.rates}.items() if rate != NO_LIMIT}

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()
