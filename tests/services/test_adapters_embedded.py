"""The embedded server: its data survives, and no two servers work on one folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from services.adapters.embedded import EmbeddedRedis, EmbeddedRedisError


def test_data_survives_a_restart_and_the_settings_are_right(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        client = redis.Redis.from_url(server.url, decode_responses=True)
        client.set("a", "1")
        server.restart()
        client = redis.Redis.from_url(server.url, decode_responses=True)
        assert client.get("a") == "1"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("append*") | {"appendonly": "yes", "appendfsync": "everysec"} == client.config_get("append*")
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        pid = server.pid
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(server.url).ping()
    assert not Path(f"/proc/{pid}").exists()


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as first:
        with pytest.raises(EmbeddedRedisError, match="stop it or use another folder"):
            EmbeddedRedis(tmp_path).start()
        assert redis.Redis.from_url(first.url).ping()


def test_a_server_whose_owner_was_killed_is_taken_over_with_its_data(tmp_path: Path) -> None:
    program = (
        "import os, redis, signal, sys\nfrom services.adapters.embedded import EmbeddedRedis\n"
        "server = EmbeddedRedis(sys.argv[1])\nserver.start()\nredis.Redis.from_url(server.url).set('a', 'kept')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    orphan = json.loads((tmp_path / "owner.json").read_text())["port"]
    assert redis.Redis(port=orphan).ping(), "the set-up: the server outlived its owner"
    with EmbeddedRedis(tmp_path) as server:
        assert redis.Redis.from_url(server.url).get("a") == b"kept"
        with pytest.raises(redis.ConnectionError):
            redis.Redis(port=orphan).ping()


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "a") as first, pytest.raises(EmbeddedRedisError, match=f"port {first.port}"):
        EmbeddedRedis(tmp_path / "b", port=first.port).start()
