"""What is sent, as it lies in the queue; and the settings that were measured."""

from __future__ import annotations

import base64
import json

import pytest

from services.adapters.celery_settings import celery_settings, job_of_message
from services.adapters.job_documents import JobDocuments
from services.adapters.job_store import JobStore
from services.adapters.queue import JobQueue, QueueUnavailable
from services.adapters.settings import Settings, to_environment
from services.adapters.submission import submit_job
from services.contract.tasks import RECONSTRUCT_QUEUE, RECONSTRUCT_TASK
from tests.services.service_stand import make_record


def test_a_message_carries_the_jobs_id_alone(queue: JobQueue, store: JobStore, settings: Settings) -> None:
    record = make_record(settings, labels={"secret": "name"})
    queue.send(record.id)
    (raw,) = store.redis.lrange(settings.key_prefix + RECONSTRUCT_QUEUE, 0, -1)
    message = json.loads(raw)
    assert json.loads(base64.b64decode(message["body"]))[:2] == [[record.id], {}]
    assert message["headers"]["task"] == RECONSTRUCT_TASK
    assert "secret" not in raw
    assert job_of_message(raw) == record.id
    assert queue.waiting() == {record.id}
    assert queue.depth() == 1


@pytest.mark.parametrize("raw", ["", "[]", "{}", '{"headers": null}', "no json"])
def test_foreign_messages_are_no_jobs(raw: str) -> None:
    assert job_of_message(raw) is None


def test_a_queue_that_is_away_is_told(settings: Settings) -> None:
    gone = JobQueue(settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"}))
    with pytest.raises(QueueUnavailable):
        gone.send("job_x")


def test_a_job_is_accepted_although_its_message_cannot_be_sent(
    settings: Settings, store: JobStore, documents: JobDocuments
) -> None:
    gone = JobQueue(settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"}))
    record = make_record(settings)
    submit_job(record, store, documents, gone)
    assert store.get(record.id) == record
    assert documents.read(record.id) == record
    assert store.redis.zscore(store.prefix + "sent", record.id) is None, "the reaper sends it"


def test_the_measured_settings_hold() -> None:
    values = celery_settings(Settings(job_time_limit_s=1000.0))
    expected = {
        "task_acks_late": False,
        "worker_disable_prefetch": True,
        "worker_prefetch_multiplier": 1,
        "worker_concurrency": 1,
        "worker_pool": "prefork",
        "worker_pool_start_method": "spawn",
        "task_reject_on_worker_lost": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "task_ignore_result": True,
        "task_time_limit": 1000.0,
        "task_soft_time_limit": 970.0,
        "worker_max_tasks_per_child": 50,
        "accept_content": ["json"],
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_acquire_timeout": 10,
    }
    assert {name: values[name] for name in expected} == expected
    transport = values["broker_transport_options"]
    assert transport["visibility_timeout"] == 1600.0
    assert transport["unacked_restore_interval"] == 5


def test_settings_survive_the_way_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        key_prefix="x:",
        cors_origins=("https://a.example",),
        threads=2,
        s3_secret_key="with spaces and 7",
        lease_s=2.5,
        max_photos=3,
    )
    for name, value in to_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
    assert "with spaces" not in repr(settings)
