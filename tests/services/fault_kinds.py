"""The faults of the matrix: each strikes while a job is held at a moment, and is over when its function returns."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable

import redis

from tests.services.fault_scene import REACHED_WITHIN_S, Fault, Scene
from tests.services.service_stand import wait_for

AWAY_S = 2.5  # longer than the lease of the tests
SLOW_BYTES_A_SECOND = 12_000.0
TRIED_WITHIN_S = 12.0
REFUSED = ("too late", "is old", "nothing to do")  # what a worker logs whose token is old, or whose job is taken


def kill_child(scene: Scene) -> None:
    os.kill(scene.held, signal.SIGKILL)


def kill_worker(scene: Scene) -> None:
    scene.stand.workers[0].kill()
    scene.start_worker()


def terminate_worker(scene: Scene) -> None:
    scene.stand.workers[0].stop(60)
    scene.start_worker()


def freeze_worker(scene: Scene) -> None:
    """It freezes for longer than its lease; another has the job when it comes back."""
    first = scene.stand.workers[0]
    scene.gates.arm("rival", scene.target.id)
    first.pause()
    scene.start_worker()
    if scene.moment == "after-commit":
        time.sleep(AWAY_S)
    else:
        wait_for(lambda: scene.gates.held("rival", scene.target.id), REACHED_WITHIN_S, f"the rival\n{scene.tails()}")
    first.resume()
    scene.go_on()
    _wait_at_most(TRIED_WITHIN_S, lambda: _ended(scene) or any(text in first.tail() for text in REFUSED))
    scene.gates.open("rival", scene.target.id)


def restart_redis(scene: Scene) -> None:
    """It is killed and reads its append-only file again."""
    assert scene.stand.server is not None
    scene.stand.server.kill()
    scene.go_on()
    time.sleep(1.0)
    scene.stand.server.start()


def empty_redis(scene: Scene) -> None:
    assert scene.stand.server is not None
    scene.stand.server.kill()
    scene.go_on()
    shutil.rmtree(scene.stand.server.folder)
    time.sleep(0.5)
    scene.stand.server.start()


def take_s3_away(scene: Scene) -> None:
    assert scene.proxy is not None
    scene.proxy.go_away()
    scene.go_on()
    time.sleep(AWAY_S)
    scene.proxy.heal()


def slow_s3_down(scene: Scene) -> None:
    """First it says nothing until its clients give up, then it is slow; it is well again when the job has ended."""
    assert scene.proxy is not None
    scene.proxy.stall()
    scene.go_on()
    time.sleep(AWAY_S)
    scene.proxy.heal()
    scene.proxy.slow_down(SLOW_BYTES_A_SECOND)


def fill_disk(scene: Scene) -> None:
    scene.gates.disk_full.touch()
    scene.go_on()
    time.sleep(AWAY_S)
    scene.gates.disk_full.unlink()


def restart_api(scene: Scene) -> None:
    assert scene.api is not None
    scene.api.kill()
    scene.go_on()
    scene.api.start()


FAULTS: dict[str, Fault] = {
    "SIGKILL child": kill_child,
    "SIGKILL worker": kill_worker,
    "SIGTERM": terminate_worker,
    "SIGSTOP > lease": freeze_worker,
    "Redis restart": restart_redis,
    "Redis empty": empty_redis,
    "S3 down": take_s3_away,
    "S3 slow": slow_s3_down,
    "disk full": fill_disk,
    "API restart": restart_api,
}


def _ended(scene: Scene) -> bool:
    with contextlib.suppress(redis.RedisError):
        record = scene.stand.store.get(scene.target.id)
        return record is not None and record.terminal
    return False


def _wait_at_most(seconds: float, condition: Callable[[], bool]) -> None:
    with contextlib.suppress(AssertionError):
        wait_for(condition, seconds)
