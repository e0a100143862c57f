"""`python -m services.worker.localisation`: the resident localisation worker, its settings from the environment (`M3R_…`).

One process with the weights loaded and warm. Queries are taken from their own stream, several that wait at once; references are
encoded and scenes frozen in a background thread that gives way to them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from datetime import datetime

import redis

from services.adapters.job_store import JobStore
from services.adapters.json_logs import log_as_json
from services.adapters.localisation_chores import ChoreList
from services.adapters.localisation_queue import QueryQueue, WaitingQuery
from services.adapters.localisation_store import MAPS, REFERENCES, RecordStore
from services.adapters.objects import open_store
from services.adapters.settings import Settings
from services.adapters.worker_registry import WorkerRegistry
from services.contract.workers import WorkerStatus
from services.worker.failures import is_device_fault
from services.worker.localisation_answering import DeviceLost, QueryAnswering
from services.worker.localisation_background import BackgroundThread
from services.worker.localisation_engine import LocalisationEngine, find_localisation_engine
from services.worker.localisation_freezing import MapFreezer
from services.worker.localisation_maps import MapShelf
from services.worker.localisation_references import ReferenceShelf
from services.worker.memory import limit_memory
from services.worker.query_gate import QueryGate

log = logging.getLogger("m3r.localisation")

BEAT_S = 1.0
TAKE_BLOCK_MS = 1_000
TAKE_OVER_EVERY_S = 1.0
REDIS_PAUSE_S = 0.3
STUCK_AFTER_S = 30.0  # beyond the longest deadline there is: an engine that still works on a batch then never ends
STUCK_EXIT = 75
PACE_WEIGHT = 0.2  # of the newest batch in the moving average
DEVICE_FAULT_EXIT = 70


class LocalisationWorker:
    """The process, put together."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.name = f"{socket.gethostname()}/{os.getpid()}"
        self._queue = QueryQueue(settings, self.name)
        self._store, self._objects = JobStore(settings), open_store(settings)
        self._registry = WorkerRegistry(settings, self._store.redis)
        self._stop = threading.Event()
        self._pace_ms = 0.0
        self._busy_since: float | None = None
        self._engine: LocalisationEngine | None = None
        self._gate = QueryGate()
        self._started_at = datetime.now().astimezone()

    def stop(self) -> None:
        """Take no more queries; those in work are answered. While the engine is still being loaded, the process ends here."""
        self._stop.set()
        if self._engine is None:
            os._exit(0)  # an exception would land in the middle of a library that is being imported

    def run(self) -> int:
        """Load the engine and answer until told to stop; gives the process' exit status."""
        beat = threading.Thread(target=self._beat, name="localisation-beat", daemon=True)
        beat.start()
        engine = self._load()
        background = self._background(engine)
        background.start()
        try:
            self._serve(self._answering(engine))
        except DeviceLost:
            log.exception("device fault; this process ends")
            return DEVICE_FAULT_EXIT
        finally:
            self._stop.set()
            with contextlib.suppress(redis.RedisError):
                self._queue.leave()
                self._registry.leave(self.name)
            background.stop()
            beat.join(timeout=5)
        return 0

    def _load(self) -> LocalisationEngine:
        engine = find_localisation_engine(self._settings)(self._settings)
        started = time.perf_counter()
        try:
            engine.warm_up()
        except Exception as error:
            if is_device_fault(error):
                raise
            log.warning("warming up failed, queries may too: %s: %s", type(error).__name__, error)
        self._pace_ms = 1000 * (time.perf_counter() - started)
        log.info("engine %s is loaded; warming up took %.0f ms", engine.name, self._pace_ms)
        return engine

    def _answering(self, engine: LocalisationEngine) -> QueryAnswering:
        return QueryAnswering(engine, self._shelf, MapShelf(engine, self._objects, self._settings), self._queue)

    def _background(self, engine: LocalisationEngine) -> BackgroundThread:
        settings, client = self._settings, self._store.redis
        references = RecordStore(REFERENCES, settings, client, self._objects)
        self._shelf = ReferenceShelf(engine, self._objects, settings.localisation_cache_bytes, references.mark_encoded)
        maps = RecordStore(MAPS, settings, client, self._objects)
        freezer = MapFreezer(engine, self._store, self._objects, maps, settings)
        chores = ChoreList(settings, client)
        return BackgroundThread(chores, self._shelf, freezer, (references, maps), self._gate, settings, _leave_device)

    def _serve(self, answering: QueryAnswering) -> None:
        ready, look_at = False, 0.0
        while not self._stop.is_set():
            try:
                if not ready:
                    self._queue.open()
                    self._engine, ready = answering.engine, True
                    self._queue.beat(self._pace_ms)
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + TAKE_OVER_EVERY_S
                    for query in self._queue.take_over():  # one of them may have killed its worker: one at a time
                        self._answer(answering, [query])
                self._answer(answering, self._queue.take(self._settings.localisation_batch, TAKE_BLOCK_MS))
            except redis.RedisError as error:
                log.warning("the queue does not answer: %s", error)
                ready = False
                self._stop.wait(REDIS_PAUSE_S)

    def _answer(self, answering: QueryAnswering, queries: list[WaitingQuery]) -> None:
        if not queries:
            return
        started = self._busy_since = time.perf_counter()
        try:
            with self._gate.answering():
                worked = answering.answer(queries)
        finally:
            self._busy_since = None
        if worked:
            each = 1000 * (time.perf_counter() - started) / worked
            self._pace_ms += PACE_WEIGHT * (each - self._pace_ms)

    def _beat(self) -> None:
        while not self._stop.is_set():
            self._end_if_stuck()
            with contextlib.suppress(redis.RedisError):
                if self._engine is not None:
                    self._queue.beat(self._pace_ms)
                self._registry.beat(self._status())
            self._stop.wait(BEAT_S)

    def _end_if_stuck(self) -> None:
        """An engine that hangs holds every query up; whoever started this process starts another."""
        since, limit_s = self._busy_since, self._settings.localisation_max_deadline_ms / 1000 + STUCK_AFTER_S
        if since is not None and time.perf_counter() - since > limit_s:
            log.error("the engine works on one batch for more than %.0f s; this process ends", limit_s)
            logging.shutdown()
            os._exit(STUCK_EXIT)

    def _status(self) -> WorkerStatus:
        host, _, pid = self.name.rpartition("/")
        return WorkerStatus(
            name=self.name,
            host=host,
            pid=int(pid),
            kind="localisation",
            weights_loaded=self._engine is not None,
            engine=None if self._engine is None else self._engine.name,
            started_at=self._started_at,
            last_seen=datetime.now().astimezone(),
        )


def run_localisation_worker(settings: Settings) -> int:
    """Work until told to stop; gives the process' exit status."""
    # Idle OpenMP threads that spin take the processor from queue and API; read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.captureWarnings(True)
    log_as_json(logging.getLogger(), settings.log_level)
    limit_memory(settings.memory_limit_bytes)
    worker = LocalisationWorker(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    return worker.run()


def _leave_device() -> None:
    logging.shutdown()
    os._exit(DEVICE_FAULT_EXIT)


if __name__ == "__main__":
    sys.exit(run_localisation_worker(Settings()))
