"""A real S3 server (SeaweedFS) as a process that can be killed and started again on its data."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from services.adapters.embedded import free_port

BUCKET = "m3r-tests"
READY_WITHIN_S = 60.0
SERVICES = ("master", "volume", "filer", "s3")


class S3Server:
    """One server with one identity and the bucket `m3r-tests`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = dict(zip(SERVICES, _ports(len(SERVICES)), strict=True))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Where S3 is spoken."""
        return self._ports["s3"]

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that reach it."""
        secrets = {"s3_access_key": "tests", "s3_secret_key": "tests-secret"}
        return {"store": f"s3://{BUCKET}", "s3_endpoint": self.endpoint, **secrets}

    def start(self) -> None:
        """Start it, and wait until its bucket can be written."""
        identity = {"name": "tests", "credentials": [{"accessKey": "tests", "secretKey": "tests-secret"}], "actions": ["Admin"]}
        (self._folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        flags = [f"-dir={self._folder}", "-ip=127.0.0.1", "-volume.max=20", "-master.volumeSizeLimitMB=64", "-s3"]
        # The first two are at fixed ports, else: one server a machine.
        flags += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
        # A new folder for each start: with its old one the master waits for an election. What it must know the volumes tell it.
        flags += [f"-master.dir={tempfile.mkdtemp(prefix='master-', dir=self._folder)}"]
        flags += [f"-s3.config={self._folder / 's3.json'}", *(f"-{name}.port={port}" for name, port in self._ports.items())]
        weed = Path(sys.executable).parent / "weed"
        with (self._folder / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(weed), "server", *flags], stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "2"}
            )
        self._wait_until_ready()

    def kill(self) -> None:
        """End it as a crash would; a polite end takes 20 s."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def client(self) -> Any:
        """A client of its own, past the service."""
        config = Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 1}, connect_timeout=2)
        keys = {"aws_access_key_id": "tests", "aws_secret_access_key": "tests-secret"}
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", config=config, **keys)

    def __enter__(self) -> S3Server:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    def _wait_until_ready(self) -> None:
        client, deadline = self.client(), time.monotonic() + READY_WITHIN_S
        while True:
            try:
                with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
                    client.create_bucket(Bucket=BUCKET)
                client.put_object(Bucket=BUCKET, Key="probe", Body=b"1")
                return
            except (BotoCoreError, ClientError):
                if time.monotonic() > deadline or self._process is None or self._process.poll() is not None:
                    self.kill()
                    raise
                time.sleep(0.3)


def _ports(count: int) -> list[int]:
    # SeaweedFS takes port + 10000 for gRPC beside each of its ports.
    found: list[int] = []
    while len(found) < count:
        port = free_port()
        if port < 55000 and all(abs(port - other) > 1 for other in found):
            found.append(port)
    return found
