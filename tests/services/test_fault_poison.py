"""Poison among good jobs: every kind is capped and named, good jobs are done beside it, and the same workers serve on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from services.adapters.embedded import EmbeddedRedis
from services.contract.codes import JobErrorCode
from services.contract.states import JobStatus
from tests.services.conftest import make_settings
from tests.services.counted_worker import COUNTER
from tests.services.fault_scene import finish_one
from tests.services.invariants import check_job, fingerprint
from tests.services.service_stand import Stand

MEMORY_BYTES = 400 * 2**20
TIME_LIMIT_S = 12.0
POISONS = {
    "segfault": (JobErrorCode.WORKER_LOST, "signal 11", 2),
    "abort": (JobErrorCode.WORKER_LOST, "signal 6", 2),
    "exit": (JobErrorCode.WORKER_LOST, "exitcode 3", 2),
    "hog": (JobErrorCode.OUT_OF_MEMORY, "", 1),
    "loop": (JobErrorCode.TIMEOUT, "time limit", 1),
}


@pytest.mark.slow
def test_poison_among_good_jobs_on_two_workers(redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    limits = {"max_attempts": 2, "memory_limit_bytes": MEMORY_BYTES, "job_time_limit_s": TIME_LIMIT_S}
    with Stand(make_settings(redis_server.url, tmp_path, **limits), tmp_path) as stand:
        bystander = finish_one(stand)
        before = fingerprint(stand, bystander)
        for _ in range(2):
            stand.start_worker()
        poisoned, good = {}, []
        for what in POISONS:
            poisoned[what] = stand.submit(fake={"do": what})
            good.append(stand.submit(fake={"seconds": 0.02}))
        for what, (code, said, attempts) in POISONS.items():
            done = check_job(stand, stand.wait_terminal(poisoned[what], 120))
            assert done.error is not None
            assert (done.error.code, len(done.attempts)) == (code, attempts), what
            assert said in done.error.message
            assert done.error.hint
        for job in good:
            done = check_job(stand, stand.wait_terminal(job, 60))
            assert (done.status, len(done.attempts)) == (JobStatus.SUCCEEDED, 1)
        assert all(worker.process.poll() is None for worker in stand.workers), "the parents have seen nothing but dead children"
        assert check_job(stand, stand.wait_terminal(stand.submit(), 60)).status is JobStatus.SUCCEEDED
        assert fingerprint(stand, bystander) == before


def test_a_child_that_the_kernel_kills_for_memory_is_told_so_and_not_tried_again(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text("oom 0\noom_kill 3\n")
    monkeypatch.setenv(COUNTER, str(counter))
    stand.start_worker("tests.services.counted_worker")
    job = stand.submit(fake={"stages": {"decode": 30}})
    stand.wait_stage(job, "decode")
    counter.write_text("oom 1\noom_kill 4\n")
    os.kill(stand.child_of(job), signal.SIGKILL)
    done = check_job(stand, stand.wait_terminal(job))
    assert done.error is not None
    assert (done.error.code, len(done.attempts)) == (JobErrorCode.OUT_OF_MEMORY, 1)
    assert "kernel" in done.error.message
    killed = stand.submit(fake={"stages": {"decode": 1.0}})  # the counter stands still: another death
    stand.wait_stage(killed, "decode")
    os.kill(stand.child_of(killed), signal.SIGKILL)
    assert [attempt.outcome for attempt in check_job(stand, stand.wait_terminal(killed)).attempts] == ["lost", "succeeded"]
