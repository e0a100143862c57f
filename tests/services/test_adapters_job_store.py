"""The job store over a real server: compare-and-set, fencing, leases, indexes, events."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from services.adapters.async_job_store import AsyncJobStore
from services.adapters.job_store import JobExists, JobNotFound, JobStore
from services.adapters.settings import Settings
from services.adapters.transitions import job_error
from services.contract.codes import JobErrorCode
from services.contract.jobs import JobResult, Metrics, ProgressReport, Quality, Scale
from services.contract.states import JobStatus
from tests.services.service_stand import StandFactory, make_record, wait_for

LOST = job_error(JobErrorCode.WORKER_LOST, "gone")


def result(token: str) -> JobResult:
    return JobResult(
        token=token, artifacts=[], scale=Scale(metric=True, source="network"), quality=Quality(verdict="good"), metrics=Metrics()
    )


def progress(fraction: float) -> ProgressReport:
    return ProgressReport(fraction=fraction, stage="encode", updated_at=datetime.now(UTC))


def test_fifty_claims_at_once_have_one_winner(settings: Settings, store: JobStore) -> None:
    for _ in range(5):
        record = make_record(settings)
        store.create(record)
        barrier, winners = threading.Barrier(50), []

        def try_claim(
            number: int, job_id: str = record.id, barrier: threading.Barrier = barrier, winners: list[str] = winners
        ) -> None:
            barrier.wait()
            if store.claim(job_id, f"worker-{number}") is not None:
                winners.append(f"worker-{number}")

        threads = [threading.Thread(target=try_claim, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = store.require(record.id)
        assert len(winners) == 1
        assert [attempt.worker for attempt in after.attempts] == winners
        assert (after.status, after.version) == (JobStatus.RUNNING, 1)


def test_create_refuses_an_id_that_exists(settings: Settings, store: JobStore) -> None:
    record = make_record(settings)
    store.create(record)
    with pytest.raises(JobExists):
        store.create(record.model_copy(update={"labels": {"other": "job"}}))
    assert store.get(record.id) == record


def test_old_token_can_do_nothing(settings: Settings, store: JobStore) -> None:
    record = make_record(settings)
    store.create(record)
    first = store.claim(record.id, "a")
    assert first is not None
    assert first.token is not None
    assert store.lose(record.id, first.token, LOST)
    second = store.claim(record.id, "b")
    assert second is not None
    assert second.token not in (None, first.token)
    before = store.get(record.id)
    assert store.heartbeat(record.id, first.token, progress(0.9)) is None
    assert store.progress(record.id) is None
    assert not store.commit(record.id, first.token, result(first.token))
    assert not store.fail(record.id, first.token, LOST)
    assert not store.finish_canceled(record.id, first.token)
    assert not store.release(record.id, first.token)
    assert store.get(record.id) == before
    assert store.commit(record.id, str(second.token), result(str(second.token)))
    assert [attempt.outcome for attempt in store.require(record.id).attempts] == ["lost", "succeeded"]


def test_commit_repeated_after_a_lost_answer_is_still_a_success(settings: Settings, store: JobStore) -> None:
    record = make_record(settings)
    store.create(record)
    held = store.claim(record.id, "a")
    assert held is not None
    token = str(held.token)
    assert store.commit(record.id, token, result(token))
    version = store.require(record.id).version
    assert store.commit(record.id, token, result(token))
    assert store.require(record.id).version == version


def test_attempts_are_capped_and_released_ones_do_not_count(settings: Settings, store: JobStore) -> None:
    record = make_record(settings)
    store.create(record)
    for outcome in ("release", "lose", "release", "lose", "lose"):
        held = store.claim(record.id, "a")
        assert held is not None
        token = str(held.token)
        assert store.release(record.id, token) if outcome == "release" else store.lose(record.id, token, LOST)
    ended = store.require(record.id)
    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    assert ended.error.code is JobErrorCode.WORKER_LOST
    assert "3 attempts" in ended.error.message
    assert Counter(attempt.outcome for attempt in ended.attempts) == {"lost": 3, "released": 2}


def test_out_of_memory_is_not_tried_again(settings: Settings, store: JobStore) -> None:
    record = make_record(settings)
    store.create(record)
    held = store.claim(record.id, "a")
    assert held is not None
    assert store.lose(record.id, str(held.token), job_error(JobErrorCode.OUT_OF_MEMORY, "too big"))
    assert store.require(record.id).status is JobStatus.FAILED
    assert store.require(record.id).error == job_error(JobErrorCode.OUT_OF_MEMORY, "too big")


def test_cancel_queued_at_once_and_running_through_the_heartbeat(settings: Settings, store: JobStore) -> None:
    queued, running = make_record(settings), make_record(settings)
    store.create(queued)
    store.create(running)
    held = store.claim(running.id, "a")
    assert held is not None
    token = str(held.token)
    assert store.request_cancel(queued.id).status is JobStatus.CANCELED
    assert store.claim(queued.id, "b") is None
    assert store.heartbeat(running.id, token) is JobStatus.RUNNING
    assert store.request_cancel(running.id).status is JobStatus.CANCELING
    assert store.heartbeat(running.id, token) is JobStatus.CANCELING
    assert store.finish_canceled(running.id, token)
    ended = store.require(running.id)
    assert (ended.status, ended.attempts[0].outcome) == (JobStatus.CANCELED, "canceled")
    assert store.request_cancel(running.id) == ended


def test_a_job_past_its_deadline_expires_instead_of_running(settings: Settings, store: JobStore) -> None:
    record = make_record(settings, deadline_at=datetime.now(UTC) - timedelta(seconds=1))
    store.create(record)
    assert store.claim(record.id, "a") is None
    ended = store.require(record.id)
    assert (ended.status, ended.attempts) == (JobStatus.EXPIRED, [])


def test_lease_is_extended_by_the_heartbeat_alone(settings: Settings, store: JobStore) -> None:
    record = make_record(settings)
    store.create(record)
    held = store.claim(record.id, "a")
    assert held is not None
    lease = timedelta(seconds=settings.lease_s)
    assert store.due("leases", store.now()) == []
    assert store.due("leases", store.now() + lease) == [record.id]
    late = store.now() + lease
    store.redis.zadd(store.prefix + "leases", {record.id: 0})
    store.heartbeat(record.id, str(held.token))
    assert store.due("leases", late - timedelta(seconds=0.5)) == []
    assert store.counts() == {"queued": 0, "running": 1}


def test_heartbeat_of_an_unknown_job_is_told_from_a_lost_lease(store: JobStore) -> None:
    with pytest.raises(JobNotFound):
        store.heartbeat("job_x", "token")


def test_events_hold_every_status_and_progress_in_order(settings: Settings, store: JobStore) -> None:
    record = make_record(settings)
    store.create(record)
    held = store.claim(record.id, "a")
    assert held is not None
    token = str(held.token)
    store.heartbeat(record.id, token, progress(0.25))
    store.heartbeat(record.id, token)
    store.commit(record.id, token, result(token))
    events = store.events(record.id)
    assert [(event.event, event.data.get("status") or event.data.get("fraction")) for event in events] == [
        ("status", "queued"),
        ("status", "running"),
        ("progress", 0.25),
        ("status", "succeeded"),
    ]
    assert events[-1].data["terminal"] is True
    assert store.events(record.id, after=events[1].id) == events[2:]


def test_list_pages_newest_first_by_status_and_label(settings: Settings, store: JobStore) -> None:
    records = [make_record(settings, labels={"n": str(number), **({"odd": ""} if number % 2 else {})}) for number in range(7)]
    for record in records:
        store.create(record)
    other = make_record(settings, tenant="other")
    store.create(other)
    store.claim(records[3].id, "a")
    newest = [record.id for record in sorted(records, key=lambda record: record.id, reverse=True)]
    pages, cursor = [], None
    while True:
        page, cursor = store.list("local", cursor=cursor, limit=3)
        pages.append([record.id for record in page])
        if cursor is None:
            break
    assert [job_id for page in pages for job_id in page] == newest
    assert [record.id for record in store.list("local", status=JobStatus.RUNNING)[0]] == [records[3].id]
    assert records[3].id not in [record.id for record in store.list("local", status=JobStatus.QUEUED)[0]]
    assert {record.labels["n"] for record in store.list("local", label="odd")[0]} == {"1", "3", "5"}
    assert [record.labels["n"] for record in store.list("local", label="n=4")[0]] == ["4"]


def test_queue_position_counts_those_before(settings: Settings, store: JobStore) -> None:
    now = datetime.now(UTC)
    records = [make_record(settings, queued_at=now + timedelta(seconds=number)) for number in range(3)]
    for record in records:
        store.create(record)
    assert [store.queue_position(record.id) for record in records] == [0, 1, 2]
    store.claim(records[0].id, "a")
    assert [store.queue_position(record.id) for record in records] == [None, 0, 1]


def test_deletion_leaves_a_tombstone_without_the_clients_words(settings: Settings, store: JobStore) -> None:
    record = make_record(settings, labels={"secret": "name"}, warnings=["photo secret.jpg is dark"])
    store.create(record)
    assert store.mark_deleted(record.id).deleted_at is None, "a job that has not ended cannot be deleted"
    store.request_cancel(record.id)
    deleted = store.mark_deleted(record.id)
    assert deleted.deleted_at is not None
    assert "secret" not in deleted.model_dump_json()
    assert "photo-0" not in deleted.model_dump_json()
    assert store.list("local")[0] == []
    store.forget(deleted)
    assert store.redis.keys(store.prefix + "*") == []


async def async_session(settings: Settings, store: JobStore) -> None:
    record = make_record(settings)
    async_store = AsyncJobStore(settings)
    await async_store.create(record)
    assert await async_store.get(record.id) == store.get(record.id) == record
    assert await async_store.queue_position(record.id) == 0
    assert (await async_store.list("local"))[0] == [record]
    threading.Timer(0.2, store.claim, (record.id, "a")).start()
    changed = await async_store.wait_for_change(record.id, record.version, 5)
    assert changed is not None
    assert changed.status is JobStatus.RUNNING
    assert await async_store.wait_for_change(record.id, changed.version, 0.1) == changed
    threading.Timer(0.2, store.heartbeat, (record.id, changed.token, progress(0.5))).start()
    seen = await async_store.events(record.id)
    assert await async_store.first_event_id(record.id) == seen[0].id
    blocked = await async_store.events(record.id, after=seen[-1].id, block_ms=5000)
    assert [event.data["fraction"] for event in blocked] == [0.5]
    assert (await async_store.progress(record.id)) == store.progress(record.id)
    assert (await async_store.request_cancel(record.id)).status is JobStatus.CANCELING
    assert await async_store.counts() == {"queued": 0, "running": 1}
    await async_store.close()


def test_the_asynchronous_form_sees_the_same_jobs(settings: Settings, store: JobStore) -> None:
    asyncio.run(async_session(settings, store))


def test_connections_survive_a_restart_of_the_server(own_stand: StandFactory) -> None:
    stand = own_stand()
    record = make_record(stand.settings)
    stand.store.create(record)
    stand.server.restart()
    assert wait_for(lambda: stand.store.get(record.id)) == record
