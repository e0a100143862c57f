"""Real servers and real processes for the services' tests: Redis' protocol, S3, a Celery worker."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.adapters.embedded import EmbeddedRedis, free_port
from services.adapters.job_documents import JobDocuments
from services.adapters.job_store import JobStore
from services.adapters.objects import ObjectStore, open_store
from services.adapters.queue import JobQueue
from services.adapters.settings import Settings
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
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A real S3 gateway (SeaweedFS); gives the settings that reach it. The bucket is `m3r-tests`."""
    folder = tmp_path_factory.mktemp("s3")
    process, values = start_s3(folder)
    yield values
    process.kill()  # its data is thrown away; a polite end takes 20 s
    process.wait(20)


def start_s3(folder: Path) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start SeaweedFS with one identity and wait until its bucket can be made."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    ports = dict(zip(("master", "volume", "filer", "s3"), _ports(4), strict=True))
    identity = {"name": "tests", "credentials": [{"accessKey": "tests", "secretKey": "tests-secret"}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    flags = [
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-volume.max=20",
        "-master.volumeSizeLimitMB=64",
        "-s3",
        f"-s3.config={folder / 's3.json'}",
    ]
    flags += [
        f"-master.port={ports['master']}",
        f"-volume.port={ports['volume']}",
        f"-filer.port={ports['filer']}",
        f"-s3.port={ports['s3']}",
    ]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "weed"), "server", *flags],
            stdout=log,
            stderr=log,
            env={**os.environ, "GOMAXPROCS": "2"},
        )
    endpoint = f"http://127.0.0.1:{ports['s3']}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="tests",
        aws_secret_access_key="tests-secret",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 1}, connect_timeout=2),
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            client.create_bucket(Bucket="m3r-tests")
            client.put_object(Bucket="m3r-tests", Key="probe", Body=b"1")
            break
        except (BotoCoreError, ClientError):
            if time.monotonic() > deadline or process.poll() is not None:
                process.kill()
                raise
            time.sleep(0.3)
    values = {"store": "s3://m3r-tests", "s3_endpoint": endpoint, "s3_access_key": "tests", "s3_secret_key": "tests-secret"}
    return process, values


def _ports(count: int) -> list[int]:
    # SeaweedFS takes port + 10000 for gRPC beside each of its ports.
    found: list[int] = []
    while len(found) < count:
        port = free_port()
        if port < 55000 and all(abs(port - other) > 1 for other in found):
            found.append(port)
    return found
