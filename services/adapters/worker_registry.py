"""Which workers are alive and have their weights loaded: for health answers and autoscalers."""

from __future__ import annotations

from datetime import timedelta

from pydantic import ValidationError

from services.adapters.processes import is_alive
from services.adapters.redis_client import Client, connect
from services.adapters.settings import Settings
from services.contract.workers import WorkerStatus

BEAT_S = 2.0
FORGOTTEN_AFTER_S = 15.0
ENGINE_REMEMBERED_S = 3600


class WorkerRegistry:
    """The workers' own words, kept in Redis while they repeat them."""

    def __init__(self, settings: Settings, client: Client | None = None) -> None:
        self._redis = client or connect(settings)
        self._prefix = settings.key_prefix

    def beat(self, status: WorkerStatus) -> None:
        """Say that a worker is alive."""
        key = f"{self._prefix}worker:{status.name}"
        pipe = self._redis.pipeline()
        pipe.set(key, status.model_dump_json(), px=timedelta(seconds=FORGOTTEN_AFTER_S))
        pipe.sadd(self._prefix + "workers", status.name)
        pipe.execute()

    def engine_loaded(self, name: str, child: int, engine: str) -> None:
        """Said by a worker's child once its engine is loaded."""
        self._redis.set(f"{self._prefix}worker:{name}:engine", f"{child} {engine}", ex=ENGINE_REMEMBERED_S)

    def loaded_engine(self, name: str) -> str | None:
        """Said to the worker's parent: the engine of its child, None when it is not loaded or the child is gone."""
        child, _, engine = str(self._redis.get(f"{self._prefix}worker:{name}:engine") or "").partition(" ")
        if not child or not is_alive(int(child)):
            return None
        self._redis.expire(f"{self._prefix}worker:{name}:engine", ENGINE_REMEMBERED_S)
        return engine

    def leave(self, name: str) -> None:
        """Say that a worker has ended."""
        self._redis.delete(f"{self._prefix}worker:{name}", f"{self._prefix}worker:{name}:engine")
        self._redis.srem(self._prefix + "workers", name)

    def workers(self) -> list[WorkerStatus]:
        """The workers heard within the last 15 s."""
        names = sorted(self._redis.smembers(self._prefix + "workers"))
        documents = self._redis.mget([f"{self._prefix}worker:{name}" for name in names]) if names else []
        alive = []
        for name, document in zip(names, documents, strict=True):
            try:
                alive.append(WorkerStatus.model_validate_json(document or ""))
            except ValidationError:  # silent for too long
                self._redis.srem(self._prefix + "workers", name)
        return alive
