"""Real servers and real processes for the services' tests: Redis' protocol, S3, a Celery worker."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.adapters.embedded import EmbeddedRedis
from services.adapters.job_documents import JobDocuments
from services.adapters.job_store import JobStore
from services.adapters.objects import ObjectStore, open_store
from services.adapters.queue import JobQueue
from services.adapters.settings import Settings
from tests.services.s3_server import S3Server
from tests.services.service_stand import Stand, StandFactory

_numbers = itertools.count()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """One server for the session; every test has a key prefix of its own."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def settings(redis_server: EmbeddedRedis, tmp_path: Path) -> Settings:
    """Settings of one test: own key prefix, own directory store, a lease of 2 s, little patience."""
    return make_settings(redis_server.url, tmp_path)


def make_settings(redis_url: str, folder: Path, **changes: Any) -> Settings:
    """Build a test's settings."""
    values: dict[str, Any] = {
        "redis_url": redis_url,
        "key_prefix": f"t{os.getpid()}-{next(_numbers)}:",
        "store": f"dir:{folder / 'objects'}",
        "min_free_disk_bytes": 0,
        "lease_s": 2.0,
        "cancel_grace_s": 1.5,
        "shutdown_grace_s": 1.0,
        "storage_patience_s": 1.0,
        "stray_grace_s": 0.5,
        "engine": "tests.services.fake_engine:load",
        "log_level": "INFO",
        **changes,
    }
    return Settings(**values)


@pytest.fixture
def store(settings: Settings) -> Iterator[JobStore]:
    """The job store of a test."""
    job_store = JobStore(settings)
    yield job_store
    job_store.redis.close()


@pytest.fixture
def objects(settings: Settings) -> ObjectStore:
    """The directory store of a test."""
    return open_store(settings)


@pytest.fixture
def queue(settings: Settings) -> JobQueue:
    """The queue of a test."""
    return JobQueue(settings)


@pytest.fixture
def documents(store: JobStore, objects: ObjectStore) -> JobDocuments:
    """The durable copies of a test."""
    return JobDocuments(store, objects)


@pytest.fixture
def stand(settings: Settings, tmp_path: Path) -> Iterator[Stand]:
    """Stores, queue and real worker processes over the session's Redis server."""
    with Stand(settings, tmp_path) as made:
        yield made


@pytest.fixture
def own_stand(tmp_path: Path) -> Iterator[StandFactory]:
    """A stand with a Redis server of its own, for tests that restart or flush it; changes to the settings as arguments."""
    made: list[Stand] = []

    def make(**changes: Any) -> Stand:
        server = EmbeddedRedis(tmp_path / "redis")
        server.start()
        made.append(Stand(make_settings(server.url, tmp_path, **changes), tmp_path, server))
        return made[-1]

    yield make
    for each in made:
        each.close()
        if each.server is not None:
            each.server.stop()


@pytest.fixture(scope="session")
def s3_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server (SeaweedFS) for the session. Tests that kill one start their own."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(s3_process: S3Server) -> dict[str, Any]:
    """The settings that reach the session's S3 server. The bucket is `m3r-tests`."""
    return s3_process.settings
