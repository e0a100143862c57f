"""The outbox: an event for every step asked for, in the step's own compare-and-set; taken by one, given back by the dead."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.adapters import transitions
from services.adapters.embedded import EmbeddedRedis
from services.adapters.job_documents import JobDocuments
from services.adapters.job_store import JobStore
from services.adapters.objects import ObjectStore
from services.adapters.reaper import recover_from_restart
from services.adapters.settings import Settings
from services.adapters.webhook_outbox import DeliveryInProgress, DeliveryNotFound, TryState, WebhookOutbox
from services.contract.codes import JobErrorCode
from services.contract.jobs import JobRecord
from services.contract.webhooks import EVENT_TYPES, FINAL_EVENTS, Webhook
from tests.services.service_stand import StandFactory, make_record

URL = "https://hooks.example/x?token=of-the-client"
FAILURE = transitions.job_error(JobErrorCode.NO_OVERLAP, "no two photographs overlap")


def hooked(settings: Settings, **changes: Any) -> JobRecord:
    """A job whose owner wants to hear of everything."""
    return make_record(settings, webhook=Webhook(url=URL, events=list(EVENT_TYPES)), **changes)


def run_and_fail(store: JobStore, record: JobRecord) -> None:
    """A worker takes a job and fails at it."""
    running = store.claim(record.id, "tests:1")
    assert running is not None
    assert running.token is not None
    assert store.fail(record.id, running.token, FAILURE)


@pytest.fixture
def outbox(store: JobStore) -> WebhookOutbox:
    """The outbox of a test."""
    return WebhookOutbox(store)


def test_every_step_that_was_asked_for_is_an_event(store: JobStore, settings: Settings, outbox: WebhookOutbox) -> None:
    record = hooked(settings, labels={"site": "north"})
    store.create(record)
    assert outbox.deliveries(record.id) == []  # nobody need be told that the job was accepted: the answer says so
    run_and_fail(store, record)
    first, second = outbox.deliveries(record.id)
    assert (first.type, first.sequence, first.status) == ("job.running", 1, "pending")
    assert (second.type, second.sequence, second.status) == ("job.failed", 2, "pending")
    uuid = record.id.removeprefix("job_")
    assert [first.id, second.id] == [f"evt_{uuid}_1_running", f"evt_{uuid}_2_failed"]
    now = store.require(record.id)
    assert now.webhook is not None
    assert now.webhook.sequence == 2
    taken = outbox.take(30)
    assert taken is not None
    assert json.loads(taken.entry.body) == {
        "type": "job.running",
        "timestamp": json.loads(taken.entry.body)["timestamp"],
        "data": {
            "job_id": record.id,
            "sequence": 1,
            "status": "running",
            "terminal": False,
            "attempt": 1,
            "labels": {"site": "north"},
            "capture_id": record.capture_id,
            "created_at": json.loads(record.model_dump_json())["created_at"],
            "started_at": json.loads(taken.entry.body)["timestamp"],
            "finished_at": None,
            "error": None,
            "url": None,
        },
    }


@pytest.mark.parametrize("how", ["canceled", "expired", "failed", "succeeded"])
def test_only_what_was_asked_for(store: JobStore, settings: Settings, outbox: WebhookOutbox, how: str) -> None:
    """Each job ends so, but for the last: it fails, and only its success was asked for."""
    webhook = Webhook(url=URL, events=[event for event in FINAL_EVENTS if event == f"job.{how}"])
    record = make_record(settings, webhook=webhook, deadline_at=datetime.now(UTC) - timedelta(seconds=1))
    store.create(record)
    if how == "canceled":
        store.request_cancel(record.id)
    elif how == "expired":
        store.expire(record.id)
    else:
        store.replace(record.model_copy(update={"version": 1, "deadline_at": None}), 0)
        run_and_fail(store, record)
    found = [delivery.type for delivery in outbox.deliveries(record.id)]
    assert found == ([] if how == "succeeded" else [f"job.{how}"])


def test_a_job_without_a_webhook_puts_nothing_in(store: JobStore, settings: Settings, outbox: WebhookOutbox) -> None:
    record = make_record(settings)
    store.create(record)
    run_and_fail(store, record)
    assert outbox.take(30) is None
    assert store.redis.keys(store.prefix + "hooks*") == []


def test_a_step_that_lost_its_race_tells_nothing(store: JobStore, settings: Settings, outbox: WebhookOutbox) -> None:
    record = hooked(settings)
    store.create(record)
    claims = [threading.Thread(target=store.claim, args=(record.id, f"tests:{n}")) for n in range(20)]
    for claim in claims:
        claim.start()
    for claim in claims:
        claim.join()
    assert [each.sequence for each in outbox.deliveries(record.id)] == [1]


def test_a_job_lost_and_begun_again_goes_on_counting(store: JobStore, settings: Settings, outbox: WebhookOutbox) -> None:
    record = hooked(settings)
    store.create(record)
    first = store.claim(record.id, "tests:1")
    assert first is not None
    assert first.token is not None
    store.lose(record.id, first.token, transitions.job_error(JobErrorCode.WORKER_LOST, "killed"))
    run_and_fail(store, record)
    told = outbox.deliveries(record.id)
    assert [(each.type, each.sequence) for each in told] == [("job.running", 1), ("job.running", 2), ("job.failed", 3)]
    assert len({each.id for each in told}) == 3


def test_one_event_of_a_job_at_a_time_in_their_order(store: JobStore, settings: Settings, outbox: WebhookOutbox) -> None:
    one, other = hooked(settings), hooked(settings)
    for record in (one, other):
        store.create(record)
        run_and_fail(store, record)
    taken = [outbox.take(30), outbox.take(30), outbox.take(30)]
    assert taken[2] is None
    jobs = [each.job_id for each in taken[:2] if each]
    assert sorted(jobs) == sorted([one.id, other.id])
    first = taken[jobs.index(one.id)]
    assert first is not None
    assert first.entry.sequence == 1
    later = int(time.time() * 1000) + 60_000
    assert outbox.settle(first, TryState(attempts=1, tries=1, next_ms=later))
    assert outbox.take(30) is None  # the second waits for the first
    assert outbox.deliveries(one.id)[0].next_attempt_at is not None


def test_the_next_is_due_at_once_when_one_is_settled(store: JobStore, settings: Settings, outbox: WebhookOutbox) -> None:
    record = hooked(settings)
    store.create(record)
    run_and_fail(store, record)
    for sequence, left in ((1, 1), (2, 0)):
        taken = outbox.take(30)
        assert taken is not None
        assert taken.entry.sequence == sequence
        assert outbox.settle(taken, TryState("delivered", attempts=1, tries=1))
        assert outbox.open_jobs() == left
    assert outbox.take(30) is None


def test_what_the_dead_had_taken_is_taken_again(store: JobStore, settings: Settings, outbox: WebhookOutbox) -> None:
    record = hooked(settings)
    store.create(record)
    store.claim(record.id, "tests:1")
    dead = outbox.take(0.1)
    assert dead is not None
    assert outbox.take(30) is None
    time.sleep(0.15)
    again = outbox.take(30)
    assert again is not None
    assert again.entry == dead.entry
    assert not outbox.settle(dead, TryState("failed"))  # it was not dead after all, and may say nothing any more
    assert outbox.settle(again, TryState("delivered", attempts=1, tries=1))
    assert outbox.deliveries(record.id)[0].status == "delivered"


def test_redelivery(store: JobStore, settings: Settings, outbox: WebhookOutbox) -> None:
    record = hooked(settings)
    store.create(record)
    run_and_fail(store, record)
    first = outbox.take(30)
    assert first is not None
    with pytest.raises(DeliveryInProgress):
        outbox.reopen(record.id, first.entry.id)
    outbox.settle(first, TryState("failed", attempts=12, tries=12, last_status=500), stop=True)
    second = outbox.take(30)
    assert second is not None
    assert second.stopped
    outbox.settle(second, TryState("dropped"))
    opened = outbox.reopen(record.id, first.entry.id)
    assert (opened.status, opened.attempts, opened.last_status) == ("pending", 12, 500)
    again = outbox.take(30)
    assert again is not None
    assert (again.entry, again.state.tries, again.stopped) == (first.entry, 0, False)
    for job_id, delivery_id in ((record.id, "evt_x"), ("job_x", first.entry.id)):
        with pytest.raises(DeliveryNotFound):
            outbox.reopen(job_id, delivery_id)


def test_deleting_a_job_deletes_what_was_not_delivered(store: JobStore, settings: Settings, outbox: WebhookOutbox) -> None:
    record = hooked(settings)
    store.create(record)
    run_and_fail(store, record)
    taken = outbox.take(30)
    assert taken is not None
    tombstone = store.mark_deleted(record.id)
    assert tombstone.webhook is None
    assert not outbox.settle(taken, TryState("failed", next_ms=1))
    assert store.redis.keys(store.prefix + "hooks*") == []
    assert URL not in tombstone.model_dump_json()


def test_forgetting_a_job_forgets_its_events(store: JobStore, settings: Settings, outbox: WebhookOutbox) -> None:
    record = hooked(settings)
    store.create(record)
    run_and_fail(store, record)
    store.forget(record)
    assert store.redis.keys(store.prefix + "hooks*") == []


def test_a_crash_of_redis_keeps_the_outbox(own_stand: StandFactory) -> None:
    stand = own_stand()
    server = stand.server
    assert isinstance(server, EmbeddedRedis)
    record = hooked(stand.settings)
    stand.store.create(record)
    run_and_fail(stand.store, record)
    outbox = WebhookOutbox(stand.store)
    taken = outbox.take(0.1)
    assert taken is not None
    outbox.settle(taken, TryState("delivered", attempts=1, tries=1))
    before = outbox.deliveries(record.id)
    time.sleep(1.2)  # Redis writes its log down once a second
    server.restart(crash=True)
    assert outbox.deliveries(record.id) == before
    left = outbox.take(30)
    assert left is not None
    assert left.entry.sequence == 2


def test_an_empty_redis_tells_the_last_step_of_young_jobs_again(
    store: JobStore, settings: Settings, objects: ObjectStore, documents: JobDocuments, outbox: WebhookOutbox
) -> None:
    young, old, quiet = hooked(settings), hooked(settings), make_record(settings)
    for record in (young, old, quiet):
        store.create(record)
        run_and_fail(store, record)
    long_ago = datetime.now(UTC) - timedelta(hours=settings.webhook_max_age_h + 1)
    ended = store.require(old.id)
    store.replace(ended.model_copy(update={"version": ended.version + 1, "finished_at": long_ago}), ended.version)
    before = outbox.deliveries(young.id)
    for record in (young, old, quiet):
        documents.write(record.id)
    for key in store.redis.keys(store.prefix + "*"):
        store.redis.delete(key)
    assert recover_from_restart(store, documents) == 3
    (again,) = outbox.deliveries(young.id)
    assert again == before[1]  # id, sequence and time as before: a receiver knows it
    assert outbox.deliveries(old.id) == outbox.deliveries(quiet.id) == []


def test_a_step_that_redis_lost_and_its_document_kept_is_told(
    store: JobStore, settings: Settings, documents: JobDocuments, outbox: WebhookOutbox
) -> None:
    record = hooked(settings)
    store.create(record)
    running = store.claim(record.id, "tests:1")
    assert running is not None
    assert running.token is not None
    failed = transitions.fail(store.require(record.id), FAILURE, store.now())  # in the document alone
    assert store.restore(failed)
    assert [(each.type, each.sequence) for each in outbox.deliveries(record.id)] == [("job.running", 1), ("job.failed", 2)]
    assert not store.restore(failed)
    assert len(outbox.deliveries(record.id)) == 2
