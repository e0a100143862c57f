"""Workers, children and Redis are killed, paused and restarted in the middle of jobs; every job still ends right.

Continuous integration runs one job per stage; `make faults` runs ten.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from services.contract.codes import JobErrorCode
from services.contract.jobs import JobRecord
from services.contract.states import JobStatus
from tests.services.fake_engine import STAGES
from tests.services.invariants import check_job
from tests.services.service_stand import Stand, StandFactory, is_gone, make_record, wait_for

SLOW = {"seconds": 0.25}  # two seconds in all


def outcomes(record: JobRecord) -> list[str | None]:
    return [attempt.outcome for attempt in record.attempts]


def kill_child_in_every_stage(stand: Stand, per_stage: int) -> None:
    plan = [(stage, stand.submit(fake={"seconds": 0.02, "stages": {stage: 1.5}})) for stage in STAGES * per_stage]
    stand.start_worker(wait=False)  # it begins with the first job before it says that it is there
    for stage, job in plan:  # in the order of the queue; those that were killed queue again behind the others
        stand.wait_stage(job, stage, 30)
        os.kill(stand.child_of(job), signal.SIGKILL)
    for stage, job in plan:
        done = check_job(stand, stand.wait_terminal(job, 20 + 4 * len(plan)))
        assert (done.status, outcomes(done)) == (JobStatus.SUCCEEDED, ["lost", "succeeded"]), stage
        assert done.attempts[0].error is not None
        assert "signal 9" in done.attempts[0].error.message


def test_child_killed_in_each_stage(stand: Stand) -> None:
    kill_child_in_every_stage(stand, 1)


@pytest.mark.faults
@pytest.mark.timeout(1500)
def test_child_killed_ten_times_in_each_stage(stand: Stand) -> None:
    kill_child_in_every_stage(stand, 10)


def test_whole_worker_killed_and_a_fresh_one_finishes(stand: Stand) -> None:
    first = stand.start_worker()
    running, waiting = stand.submit(fake=SLOW), stand.submit()
    stand.wait_stage(running, "decode")
    first.kill()
    began = time.monotonic()
    second = stand.start_worker()
    done = check_job(stand, stand.wait_terminal(running))
    assert outcomes(done) == ["lost", "succeeded"]
    assert done.attempts[0].error is not None
    assert done.attempts[0].error.code is JobErrorCode.WORKER_LOST
    assert done.attempts[1].worker.split("/")[1] == str(second.pid)
    assert time.monotonic() - began < 20
    assert outcomes(check_job(stand, stand.wait_terminal(waiting))) == ["succeeded"]


def test_attempts_of_killed_workers_are_capped(own_stand: StandFactory) -> None:
    stand = own_stand(max_attempts=2)
    job = stand.submit(fake={"stages": {"decode": 30}})
    for number in range(1, stand.settings.max_attempts + 1):
        worker = stand.start_worker()
        wait_for(lambda number=number: len(stand.job(job).attempts) == number, 20, "the next attempt")  # type: ignore[misc]
        stand.wait_stage(job, "decode")
        worker.kill()
    stand.start_worker()
    done = check_job(stand, stand.wait_terminal(job))
    assert outcomes(done) == ["lost"] * 2
    assert done.error is not None
    assert done.error.code is JobErrorCode.WORKER_LOST


def paused_worker_scenario(stand: Stand, module: str) -> JobRecord:
    """A worker freezes near its end for longer than its lease, another takes the job, then the first comes back."""
    frozen = stand.start_worker(module=module)
    job = stand.submit(fake={"stages": {"encode": 3.0, "align": 0.6}})
    stand.wait_stage(job, "align")
    frozen.pause()
    stand.start_worker(module=module)
    wait_for(lambda: len(stand.job(job).attempts) == 2, 20, "the second attempt")
    stand.wait_stage(job, "encode")
    frozen.resume()
    stand.wait_terminal(job)
    time.sleep(1.0)  # whoever comes second tries now
    return job


def test_a_paused_worker_that_comes_back_cannot_publish(stand: Stand) -> None:
    job = paused_worker_scenario(stand, "services.worker")
    done = check_job(stand, job)
    assert outcomes(done) == ["lost", "succeeded"]
    assert "too late" in stand.workers[0].tail() or "token" in stand.workers[0].tail()
    after = stand.submit()
    assert check_job(stand, stand.wait_terminal(after)).status is JobStatus.SUCCEEDED


def test_without_the_fencing_check_the_paused_worker_does_publish(stand: Stand) -> None:
    job = paused_worker_scenario(stand, "tests.services.unfenced_worker")
    with pytest.raises(AssertionError, match="another attempt's"):
        check_job(stand, job)


def test_a_child_that_stops_beating_is_killed_and_replaced(stand: Stand, tmp_path: Path) -> None:
    stand.start_worker()
    job = stand.submit(fake={"do": "deaf", "once": str(tmp_path / "was-deaf")})
    done = check_job(stand, stand.wait_terminal(job, 40))
    assert outcomes(done) == ["lost", "succeeded"]
    wait_for(lambda: is_gone(stand.child_of(done, 0)), 10, "the end of the child")


def test_sigterm_lets_a_job_finish_that_is_nearly_done(tmp_path: Path, own_stand: StandFactory) -> None:
    stand = own_stand(shutdown_grace_s=10.0)
    worker = stand.start_worker()
    running, waiting = stand.submit(fake={"seconds": 0.2}), stand.submit()
    stand.wait_stage(running, "encode")
    assert worker.stop() == 0
    assert outcomes(check_job(stand, running)) == ["succeeded"]
    assert stand.job(waiting).status is JobStatus.QUEUED
    assert stand.registry.workers() == []
    stand.start_worker()
    assert outcomes(check_job(stand, stand.wait_terminal(waiting))) == ["succeeded"]


def test_sigterm_gives_a_long_job_back_without_counting_it(stand: Stand) -> None:
    worker = stand.start_worker()
    job = stand.submit(fake={"stages": {"decode": 4}})
    stand.wait_stage(job, "decode")
    began = time.monotonic()
    worker.stop(20)
    assert time.monotonic() - began < 12
    released = stand.job(job)
    assert (released.status, outcomes(released)) == (JobStatus.QUEUED, ["released"])
    assert job.id in stand.queue.waiting(), "its message is there at once"
    stand.start_worker()
    assert outcomes(check_job(stand, stand.wait_terminal(job))) == ["released", "succeeded"]


@pytest.mark.parametrize("down_s", [0.0, 3.0], ids=["at once", "longer than a lease"])
def test_redis_restarts_in_the_middle_and_the_job_runs_once(own_stand: StandFactory, down_s: float) -> None:
    stand = own_stand()
    assert stand.server is not None
    stand.start_worker()
    running, waiting = stand.submit(fake={"seconds": 0.3 + down_s / 10}), stand.submit()
    stand.wait_stage(running, "pair")
    stand.server.stop()
    time.sleep(down_s)
    stand.server.start()
    assert outcomes(check_job(stand, stand.wait_terminal(running))) == ["succeeded"]
    assert outcomes(check_job(stand, stand.wait_terminal(waiting))) == ["succeeded"]


def test_redis_comes_back_empty_and_is_rebuilt(own_stand: StandFactory) -> None:
    stand = own_stand()
    assert stand.server is not None
    stand.start_worker()
    finished = stand.wait_terminal(stand.submit())
    check_job(stand, finished)
    running, waiting = stand.submit(fake={"seconds": 0.6}), stand.submit()
    stand.wait_stage(running, "pair")
    wait_for(lambda: (copy := stand.documents.read(running.id)) and copy.status is JobStatus.RUNNING, 5, "its durable copy")
    stand.server.kill()
    shutil.rmtree(stand.server.folder)
    stand.server.start()
    assert wait_for(lambda: stand.store.get(finished.id), 15, "the finished job") == finished
    assert outcomes(check_job(stand, stand.wait_terminal(running))) == ["succeeded"]
    assert outcomes(check_job(stand, stand.wait_terminal(waiting))) == ["succeeded"]


def test_a_redis_that_lost_its_last_second_is_brought_up_to_date(own_stand: StandFactory) -> None:
    stand = own_stand()
    assert stand.server is not None
    older = stand.submit()
    stand.store.redis.bgrewriteaof()
    wait_for(lambda: not stand.store.redis.info("persistence")["aof_rewrite_in_progress"], 10)
    saved = stand.folder / "saved"
    stand.server.stop()
    shutil.copytree(stand.server.folder, saved)
    stand.server.start()
    newer = stand.submit()
    stand.store.request_cancel(older.id)
    stand.documents.write(older.id)
    stand.server.kill()
    shutil.rmtree(stand.server.folder)
    shutil.copytree(saved, stand.server.folder)
    stand.server.start()
    assert stand.store.get(newer.id) is None, "the set-up: this record was lost"
    stand.start_worker()
    assert check_job(stand, stand.wait_terminal(newer)).status is JobStatus.SUCCEEDED
    assert check_job(stand, older).status is JobStatus.CANCELED


def test_the_object_store_goes_away_and_the_worker_serves_on(stand: Stand, tmp_path: Path) -> None:
    stand.start_worker()
    job = stand.submit(fake={"stages": {"match": 1.5}})
    stand.wait_stage(job, "match")
    objects, away = tmp_path / "objects", tmp_path / "away"
    objects.rename(away)
    objects.write_text("not a folder")
    done = stand.wait_terminal(job)
    assert done.error is not None
    assert done.error.code is JobErrorCode.STORAGE_UNAVAILABLE
    objects.unlink()
    away.rename(objects)
    assert check_job(stand, stand.wait_terminal(stand.submit())).status is JobStatus.SUCCEEDED
    assert check_job(stand, job).status is JobStatus.FAILED


def test_a_short_absence_of_the_object_store_is_waited_out(tmp_path: Path, own_stand: StandFactory) -> None:
    stand = own_stand(storage_patience_s=20.0)
    stand.start_worker()
    job = stand.submit(fake={"stages": {"match": 1.0}})
    stand.wait_stage(job, "match")
    objects, away = tmp_path / "objects", tmp_path / "away"
    objects.rename(away)
    objects.write_text("not a folder")
    time.sleep(2.5)
    objects.unlink()
    away.rename(objects)
    assert outcomes(check_job(stand, stand.wait_terminal(job))) == ["succeeded"]


def test_a_message_lost_before_its_claim_is_sent_again(stand: Stand) -> None:
    lost = make_record(stand.settings, photos=0)
    stand.store.create(lost)
    stand.store.mark_enqueued(lost.id)  # as if sent, then taken by a worker that died before it claimed
    stand.start_worker()
    assert outcomes(check_job(stand, stand.wait_terminal(lost))) == ["succeeded"]


def test_two_workers_share_the_jobs_and_none_runs_twice(stand: Stand) -> None:
    stand.start_worker()
    stand.start_worker()
    jobs = [stand.submit(fake={"seconds": 0.02}) for _ in range(12)]
    done = [check_job(stand, stand.wait_terminal(job)) for job in jobs]
    assert all(outcomes(job) == ["succeeded"] for job in done)
    assert len({job.attempts[0].worker for job in done}) == 2
