"""The hold on a job while it runs: heart-beats from a thread, progress on the way out, cancellation on the way in."""

from __future__ import annotations

import contextvars
import logging
import math
import threading
import time
from types import TracebackType
from typing import cast

import redis

from services.adapters.job_store import JobNotFound, JobStore
from services.contract.codes import JobErrorCode
from services.contract.jobs import JobRecord, ProgressReport, Stage, StageProgress
from services.contract.states import JobStatus

log = logging.getLogger("m3r.worker")

SLOWEST_BEAT_S = 1.0  # how soon a cancellation is heard
FASTEST_BEAT_S = 0.1


class WorkStopped(Exception):
    """Raised inside the work to end it."""


class JobCanceled(WorkStopped):
    """A client asked the job to stop."""


class DeadlinePassed(WorkStopped):
    """The job's deadline passed while it ran."""

    code = JobErrorCode.TIMEOUT.value


class LeaseLost(WorkStopped):
    """Another attempt holds the job, or will: nothing of this one may be published."""


class Lease:
    """Beats while it is open. Work calls `report` or `check`, which raise when it must stop."""

    def __init__(self, store: JobStore, record: JobRecord) -> None:
        assert record.token is not None  # given by the claim
        self.job_id = record.id
        self.token = record.token
        self._store = store
        self._pause_s = min(SLOWEST_BEAT_S, store.settings.lease_s / 3)
        self._began = self._stage_began = time.monotonic()
        self._deadline = self._began + seconds_left(record)
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self._latest: tuple[str, float] | None = None
        self._sent: tuple[str, float] | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._canceled = threading.Event()
        self._lost = threading.Event()
        context = contextvars.copy_context()  # its lines are about this job
        self._thread = threading.Thread(target=context.run, args=(self._beat_until_stopped,), name="heartbeat", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=15)

    def check(self) -> None:
        """Raise JobCanceled, DeadlinePassed or LeaseLost when the work must stop."""
        if self._lost.is_set():
            raise LeaseLost(f"{self.job_id}: token {self.token} is old")
        if self._canceled.is_set():
            raise JobCanceled(f"{self.job_id} was canceled")
        if time.monotonic() > self._deadline:
            raise DeadlinePassed("the job's deadline passed while it ran")

    def report(self, stage: str, fraction: float) -> None:
        """Take progress from the engine; also a `check`."""
        self.check()
        now = time.monotonic()
        with self._lock:
            before, at_least = self._latest or (stage, 0.0)
            self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._stage_began
            self._stage_began = now
            self._latest = (stage, max(at_least, min(1.0, fraction)))
            changed = before != stage or len(self._seconds) == 1
        if changed:
            self._wake.set()

    def stage_seconds(self) -> dict[str, float]:
        """Seconds spent in each stage so far."""
        with self._lock:
            return {stage: round(spent, 3) for stage, spent in self._seconds.items()}

    def _beat_until_stopped(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self._beat()
            except (redis.RedisError, JobNotFound) as error:
                # Redis restarts, or its records are being rebuilt: the work goes on and its result is offered when Redis is back.
                log.warning("heart-beat of %s not heard: %s", self.job_id, error)
            if self._lost.is_set():
                return
            self._stop.wait(FASTEST_BEAT_S)
            self._wake.wait(self._pause_s - FASTEST_BEAT_S)

    def _beat(self) -> None:
        with self._lock:
            latest, seconds = self._latest, dict(self._seconds)
        news = latest if latest != self._sent else None
        status = self._store.heartbeat(self.job_id, self.token, self._describe(*news, seconds) if news else None)
        self._sent = latest
        if status is None:
            self._lost.set()
        elif status is JobStatus.CANCELING:
            self._canceled.set()

    def _describe(self, stage: str, fraction: float, seconds: dict[str, float]) -> ProgressReport:
        elapsed = time.monotonic() - self._began
        return ProgressReport(
            fraction=fraction,
            stage=cast(Stage, stage),  # checked by the model
            stages=[StageProgress(name=cast(Stage, name), seconds=round(spent, 3)) for name, spent in seconds.items()],
            eta_s=round(elapsed * (1 - fraction) / fraction, 1) if fraction >= 0.02 else None,
            updated_at=self._store.now(),
        )


def seconds_left(record: JobRecord) -> float:
    """Seconds from the claim to the deadline, both by the store's clock; infinite without a deadline."""
    if record.deadline_at is None or record.started_at is None:
        return math.inf
    return (record.deadline_at - record.started_at).total_seconds()
