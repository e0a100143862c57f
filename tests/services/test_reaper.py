"""One pass of the reaper over each thing that crashes, lost messages and passing time leave behind."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from services.adapters.job_documents import JobDocuments
from services.adapters.job_store import JobStore
from services.adapters.objects import ObjectStore, OutOfSpace, open_store
from services.adapters.queue import JobQueue
from services.adapters.reaper import ReaperThread, ReapReport, reap_once
from services.adapters.settings import Settings
from services.adapters.submission import submit_job
from services.contract.codes import JobErrorCode
from services.contract.jobs import JobRecord
from services.contract.keys import artifact, capture_image, job_document
from services.contract.states import JobStatus
from tests.services.service_stand import make_record, wait_for


@pytest.fixture
def reap(store: JobStore, queue: JobQueue, objects: ObjectStore, settings: Settings) -> object:
    reap_once(store, queue, objects, settings)  # the first pass on a server is a recovery
    return lambda: reap_once(store, queue, objects, settings)


def age(store: JobStore, index: str, job_id: str) -> None:
    """Let something have become due long ago."""
    assert store.redis.zscore(store.prefix + index, job_id) is not None
    store.redis.zadd(store.prefix + index, {job_id: 1})


def test_an_expired_lease_is_queued_again_with_a_message(reap, store: JobStore, queue: JobQueue, settings: Settings) -> None:  # type: ignore[no-untyped-def]
    record = make_record(settings)
    store.create(record)
    store.claim(record.id, "host/1/2")
    assert reap().lost == 0
    age(store, "leases", record.id)
    report = reap()
    assert (report.lost, report.resent) == (1, 0)
    again = store.require(record.id)
    assert (again.status, again.attempts[0].outcome, again.token) == (JobStatus.QUEUED, "lost", None)
    assert again.attempts[0].error is not None
    assert "host/1/2" in again.attempts[0].error.message
    assert queue.waiting() == {record.id}
    assert again.queued_at > record.queued_at


def test_the_last_attempt_ends_as_worker_lost(reap, store: JobStore, settings: Settings) -> None:  # type: ignore[no-untyped-def]
    record = make_record(settings)
    store.create(record)
    for _ in range(settings.max_attempts):
        assert store.claim(record.id, "a") is not None
        age(store, "leases", record.id)
        assert reap().lost == 1
    ended = store.require(record.id)
    assert ended.error is not None
    assert (ended.status, ended.error.code) == (JobStatus.FAILED, JobErrorCode.WORKER_LOST)
    assert reap() == ReapReport()


def test_a_canceling_job_whose_worker_is_lost_ends_as_canceled(reap, store: JobStore, settings: Settings) -> None:  # type: ignore[no-untyped-def]
    record = make_record(settings)
    store.create(record)
    store.claim(record.id, "a")
    store.request_cancel(record.id)
    age(store, "leases", record.id)
    assert reap().lost == 1
    assert store.require(record.id).status is JobStatus.CANCELED


def test_a_queued_job_expires_at_its_deadline(reap, store: JobStore, settings: Settings) -> None:  # type: ignore[no-untyped-def]
    record = make_record(settings, deadline_at=datetime.now(UTC) + timedelta(seconds=0.3))
    store.create(record)
    assert reap().expired == 0
    time.sleep(0.4)
    assert reap().expired == 1
    assert store.require(record.id).status is JobStatus.EXPIRED


def test_a_job_that_was_never_rung_for_is_sent_and_a_waiting_one_is_not(
    reap, store: JobStore, queue: JobQueue, settings: Settings
) -> None:  # type: ignore[no-untyped-def]
    long_ago = datetime.now(UTC) - timedelta(minutes=1)
    silent, waiting = make_record(settings, queued_at=long_ago), make_record(settings, queued_at=long_ago)
    fresh = make_record(settings)
    store.create(fresh)
    store.create(silent)
    store.create(waiting)
    queue.send(waiting.id)
    assert reap().resent == 1
    assert queue.depth() == 2
    assert queue.waiting() == {silent.id, waiting.id}
    assert reap().resent == 0


def test_a_durable_copy_that_is_behind_is_written(reap, store: JobStore, documents: JobDocuments, settings: Settings) -> None:  # type: ignore[no-untyped-def]
    record = make_record(settings)
    store.create(record)
    assert documents.read(record.id) is None
    assert reap().documented == 0, "whoever made it may be writing now"
    age(store, "dirty", record.id)
    assert reap().documented == 1
    assert documents.read(record.id) == record
    assert store.redis.zcard(store.prefix + "dirty") == 0


def test_a_stale_writer_cannot_leave_a_stale_copy(store: JobStore, objects: ObjectStore, settings: Settings) -> None:
    record = make_record(settings)
    store.create(record)

    class SlowStore:
        """Between reading the record and writing its copy, another one changes the job and writes."""

        done = False

        def put(self, key: str, data: bytes, media_type: str) -> object:
            if not SlowStore.done:
                SlowStore.done = True
                store.request_cancel(record.id)
                JobDocuments(store, objects).write(record.id)
            return objects.put(key, data, media_type)

    JobDocuments(store, SlowStore()).write(record.id)  # type: ignore[arg-type]
    written = JobDocuments(store, objects).read(record.id)
    assert written is not None
    assert written.status is JobStatus.CANCELED


def finished(store: JobStore, objects: ObjectStore, settings: Settings, **changes: object) -> JobRecord:
    record = make_record(settings, photos=1, **changes)
    objects.put(capture_image(record.capture_id, "photo-0.jpg"), b"photo")
    store.create(record)
    claimed = store.claim(record.id, "a")
    assert claimed is not None
    objects.put(artifact(record.id, str(claimed.token), "scene.ply"), b"ply")
    store.request_cancel(record.id)
    assert store.finish_canceled(record.id, str(claimed.token))
    JobDocuments(store, objects).write(record.id)
    return store.require(record.id)


def test_leftovers_of_lost_attempts_are_removed_after_a_while(
    reap, store: JobStore, objects: ObjectStore, settings: Settings
) -> None:  # type: ignore[no-untyped-def]
    record = finished(store, objects, settings)
    assert reap().strays == 0
    time.sleep(settings.stray_grace_s + 0.1)
    assert reap().strays == 1
    assert [entry.key for entry in objects.list(f"jobs/{record.id}/")] == [job_document(record.id)]
    assert objects.read(capture_image(record.capture_id, "photo-0.jpg")) == b"photo"


def test_retention_removes_the_data_then_the_tombstone(reap, store: JobStore, objects: ObjectStore, settings: Settings) -> None:  # type: ignore[no-untyped-def]
    record = finished(store, objects, settings, retention_until=datetime.now(UTC) - timedelta(seconds=1))
    reap()
    reap()
    tombstone = store.require(record.id)
    assert tombstone.deleted_at is not None
    assert tombstone.images == []
    assert list(objects.list(f"captures/{record.capture_id}/")) == []
    assert [entry.key for entry in objects.list(f"jobs/{record.id}/")] == [job_document(record.id)]
    assert JobDocuments(store, objects).read(record.id) == tombstone
    age(store, "expiry", record.id)
    assert reap().forgotten == 1
    assert store.get(record.id) is None
    assert list(objects.list(f"jobs/{record.id}/")) == []


def test_a_capture_that_others_may_use_stays(reap, store: JobStore, objects: ObjectStore, settings: Settings) -> None:  # type: ignore[no-untyped-def]
    record = finished(store, objects, settings, owns_capture=False)
    store.mark_deleted(record.id)
    assert reap().deleted == 1
    assert objects.read(capture_image(record.capture_id, "photo-0.jpg")) == b"photo"


def test_a_running_job_is_not_touched_by_retention(reap, store: JobStore, settings: Settings) -> None:  # type: ignore[no-untyped-def]
    record = make_record(settings, retention_until=datetime.now(UTC) - timedelta(days=1))
    store.create(record)
    claimed = store.claim(record.id, "a")
    reap()
    assert store.get(record.id) == claimed


def test_a_full_store_ends_the_pass_early_and_is_told(store: JobStore, queue: JobQueue, settings: Settings) -> None:
    full = open_store(settings.model_copy(update={"min_free_disk_bytes": 2**60}))
    record = make_record(settings, queued_at=datetime.now(UTC) - timedelta(minutes=1))
    with pytest.raises(OutOfSpace):
        submit_job(record, store, JobDocuments(store, full), queue)
    assert store.get(record.id) is None, "what was not written durably was not accepted"
    store.create(record)
    age(store, "dirty", record.id)
    assert reap_once(store, queue, full, settings).resent == 1
    assert store.redis.zscore(store.prefix + "dirty", record.id) is not None


def test_only_one_reaper_works_at_a_time(store: JobStore, queue: JobQueue, objects: ObjectStore, settings: Settings) -> None:
    fast = settings.model_copy(update={"lease_s": 0.3})
    store.redis.set(store.prefix + "reaper", "another", ex=30)
    record = make_record(settings)
    store.create(record)
    thread = ReaperThread(JobStore(fast), queue, objects, fast)
    thread.start()
    time.sleep(0.5)
    assert queue.depth() == 0
    store.redis.delete(store.prefix + "reaper")
    wait_for(queue.depth, 5)
    thread.stop()
    assert not thread.is_alive()
