"""The queue, from the sending side. A message carries the job's id alone."""

from __future__ import annotations

import secrets

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from services.adapters.celery_settings import celery_settings, job_of_message
from services.adapters.redis_client import Client, connect
from services.adapters.settings import Settings
from services.contract.tasks import RECONSTRUCT_QUEUE, RECONSTRUCT_TASK

RETRY = {"max_retries": 3, "interval_start": 0.05, "interval_step": 0.2, "interval_max": 0.5}
SCAN_LIMIT = 5_000  # messages looked at for lost ones


class QueueUnavailable(Exception):
    """The queue does not take messages now. The job is not lost: the reaper sends its message later."""


class JobQueue:
    """Sends jobs by the task's name; knows none of the worker's code."""

    def __init__(self, settings: Settings, client: Client | None = None) -> None:
        self._app = Celery("m3r-send", set_as_current=False)
        self._app.conf.update(celery_settings(settings))
        self._redis = client or connect(settings)
        self._list = settings.key_prefix + RECONSTRUCT_QUEUE

    def send(self, job_id: str) -> None:
        """Ring the bell for a job; raises QueueUnavailable."""
        task_id = f"{job_id}.{secrets.token_hex(4)}"  # one id per message, so that nothing is taken for a duplicate
        try:
            self._app.send_task(
                RECONSTRUCT_TASK, args=[job_id], task_id=task_id, queue=RECONSTRUCT_QUEUE, retry=True, retry_policy=RETRY
            )
        except (OperationalError, redis.RedisError, OSError) as error:
            raise QueueUnavailable(f"no message could be sent for {job_id}: {error}") from error

    def depth(self) -> int:
        """Say how many messages wait."""
        return int(self._redis.llen(self._list))

    def waiting(self) -> set[str]:
        """The jobs that have a message in the queue; of a very long queue, of its older part."""
        messages = self._redis.lrange(self._list, -SCAN_LIMIT, -1)
        return {job_id for job_id in map(job_of_message, messages) if job_id is not None}
