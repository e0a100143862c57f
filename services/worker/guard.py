"""The parent's thread that watches over its child: dead children are named, those that will not stop are killed, and on SIGTERM
a job that does not end in time is given back. It also says that the worker is alive.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import redis
from celery.exceptions import TimeLimitExceeded
from celery.worker import state

from services.adapters.job_documents import JobDocuments
from services.adapters.job_store import JobNotFound, JobStore
from services.adapters.objects import ObjectStore, ObjectStoreError
from services.adapters.queue import JobQueue
from services.adapters.settings import Settings
from services.adapters.submission import ring
from services.adapters.worker_registry import BEAT_S, WorkerRegistry
from services.contract.jobs import Attempt, JobError
from services.contract.keys import attempt_prefix
from services.contract.states import JobStatus
from services.contract.workers import WorkerStatus
from services.worker.failures import describe_death, describe_failure
from services.worker.memory import count_oom_kills
from services.worker.scratch import remove_leftovers

log = logging.getLogger("m3r.worker")

LOOK_EVERY_S = 0.25
JOIN_WITHIN_S = 5.0


@dataclass(frozen=True)
class Death:
    """A child died, or was ended by the pool, while it worked on a job."""

    job_id: str
    error: BaseException


class ChildGuard(threading.Thread):
    """Watches over the child of this worker."""

    def __init__(self, settings: Settings, store: JobStore, objects: ObjectStore, jobs: JobQueue) -> None:
        super().__init__(name="child-guard", daemon=True)
        self.name_of_worker = f"{socket.gethostname()}/{os.getpid()}"
        self._settings, self._store, self._objects, self._queue = settings, store, objects, jobs
        self._documents = JobDocuments(store, objects)
        self._registry = WorkerRegistry(settings, store.redis)
        self._deaths: queue.Queue[Death] = queue.Queue()
        self._shutting_down = threading.Event()
        self._ended = threading.Event()
        self._overdue: dict[tuple[str, int, str], float] = {}  # since when a child should have stopped
        self._oom_kills = count_oom_kills()
        self._started_at = datetime.now().astimezone()
        self._next_beat = 0.0

    def child_died(self, job_id: str, error: BaseException) -> None:
        """Told by the pool, from the event loop: settled in this thread."""
        self._deaths.put(Death(job_id, error))

    def begin_shutdown(self) -> None:
        """SIGTERM came: the running job has `shutdown_grace_s` to end."""
        self._shutting_down.set()

    def stop(self) -> None:
        """End the thread; what the pool has told is settled first."""
        self._ended.set()
        if self.is_alive():
            self.join(timeout=JOIN_WITHIN_S)

    def run(self) -> None:
        """Watch until told to stop."""
        while not self._ended.is_set() or not self._deaths.empty():
            with contextlib.suppress(queue.Empty):
                self._try(self._settle, self._deaths.get(timeout=LOOK_EVERY_S))
            for job_id, pid in active_children():
                self._try(self._watch, job_id, pid)
            self._try(self._beat)
        with contextlib.suppress(redis.RedisError):
            self._registry.leave(self.name_of_worker)

    def _try(self, work: Callable[..., None], *arguments: object) -> None:
        try:
            work(*arguments)
        except (redis.RedisError, JobNotFound, ObjectStoreError) as error:
            log.warning("guard: %s", error)
        except Exception:
            log.exception("guard")

    def _settle(self, death: Death) -> None:
        """Take the job from a child that is dead, with the cause as far as it can be told."""
        kills = count_oom_kills()
        rose, self._oom_kills = kills > self._oom_kills, kills
        attempt = self._held_by_a_child(death.job_id)
        if attempt is None:
            return
        if self._shutting_down.is_set():
            self._store.release(death.job_id, attempt.token)
        elif isinstance(death.error, TimeLimitExceeded):
            self._store.fail(death.job_id, attempt.token, describe_failure(death.error, self._settings.job_time_limit_s))
        else:
            self._lose(death.job_id, attempt, describe_death(str(death.error), rose))
        ring(death.job_id, self._store, self._queue)
        remove_leftovers(self._settings)
        with contextlib.suppress(ObjectStoreError):
            self._objects.delete_prefix(attempt_prefix(death.job_id, attempt.token))
            self._documents.write(death.job_id)

    def _lose(self, job_id: str, attempt: Attempt, error: JobError) -> None:
        facts = {"job_id": job_id, "attempt": attempt.number}
        log.warning("%s: attempt %d: %s", job_id, attempt.number, error.message, extra=facts)
        self._store.lose(job_id, attempt.token, error)

    def _watch(self, job_id: str, pid: int) -> None:
        """Kill a child that should have stopped by itself."""
        record = self._store.require(job_id)
        mine = next((a for a in record.attempts if a.worker == f"{self.name_of_worker}/{pid}" and a.outcome is None), None)
        if self._shutting_down.is_set():
            reason, grace_s = "shutdown", self._settings.shutdown_grace_s
        elif record.status is JobStatus.CANCELING and mine is not None:
            reason, grace_s = "cancel", self._settings.cancel_grace_s
        elif mine is None and any(a.worker == f"{self.name_of_worker}/{pid}" for a in record.attempts):
            reason, grace_s = "lease lost", self._settings.cancel_grace_s
        else:
            return
        since = self._overdue.setdefault((job_id, pid, reason), time.monotonic())
        if time.monotonic() - since >= grace_s:
            facts = {"job_id": job_id, "request_id": record.request_id}
            log.warning("%s: child %d did not stop within %.1f s (%s); killed", job_id, pid, grace_s, reason, extra=facts)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._overdue[job_id, pid, reason] = time.monotonic()

    def _held_by_a_child(self, job_id: str) -> Attempt | None:
        record = self._store.get(job_id)
        if record is None or record.token is None or not record.attempts:
            return None
        attempt = record.attempts[-1]
        return attempt if attempt.worker.rpartition("/")[0] == self.name_of_worker and attempt.token == record.token else None

    def _beat(self) -> None:
        if time.monotonic() < self._next_beat:
            return
        self._next_beat = time.monotonic() + BEAT_S
        engine = self._registry.loaded_engine(self.name_of_worker)
        jobs = [job_id for job_id, _ in active_children()]
        self._registry.beat(
            WorkerStatus(
                name=self.name_of_worker,
                host=socket.gethostname(),
                pid=os.getpid(),
                weights_loaded=engine is not None,
                engine=engine,
                job=jobs[0] if jobs else None,
                started_at=self._started_at,
                last_seen=self._store.now(),
            )
        )


def active_children() -> list[tuple[str, int]]:
    """The jobs whose messages the pool has accepted, and the children that have them."""
    requests = list(state.active_requests)
    return [(str(request.args[0]), int(request.worker_pid)) for request in requests if request.args and request.worker_pid]
