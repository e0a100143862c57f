"""Connections to Redis that survive a restart of the server."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from services.adapters.settings import Settings

# What an absent or restarting server raises; worth another try.
UNAVAILABLE = (RedisConnectionError, RedisTimeoutError, BusyLoadingError)
RETRIES = 4
ASYNC_CONNECTIONS = 16
POOL_WAIT_S = 10
BACKOFF = ExponentialBackoff(cap=0.5, base=0.05)
OPTIONS: dict[str, Any] = {
    "decode_responses": True,
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
    "retry_on_error": list(UNAVAILABLE),
}


# redis-py's annotations do not know that `decode_responses` makes every answer text.
Client = Any
AsyncClient = Any


def connect(settings: Settings) -> Client:
    """Open a pool of connections for threads."""
    return redis.Redis.from_url(settings.redis_url, retry=Retry(BACKOFF, RETRIES), **OPTIONS)


def connect_async(settings: Settings) -> AsyncClient:
    """Open a pool of at most `ASYNC_CONNECTIONS` for an event loop; who finds none free waits for one."""
    retry = AsyncRetry(BACKOFF, RETRIES)
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        settings.redis_url, max_connections=ASYNC_CONNECTIONS, timeout=POOL_WAIT_S, retry=retry, **OPTIONS
    )
    return redis.asyncio.Redis.from_pool(pool)
