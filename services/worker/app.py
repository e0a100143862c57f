"""The worker's Celery application, and what its parent process runs beside it: the reaper and the guard."""

from __future__ import annotations

import logging
import os
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import Celery
from celery.exceptions import TimeLimitExceeded
from celery.signals import task_failure, worker_ready, worker_shutdown, worker_shutting_down

from services.adapters.celery_settings import celery_settings
from services.adapters.job_store import JobStore
from services.adapters.json_logs import log_as_json
from services.adapters.objects import open_store
from services.adapters.queue import JobQueue
from services.adapters.reaper import ReaperThread
from services.adapters.settings import Settings
from services.worker.guard import ChildGuard
from services.worker.scratch import remove_leftovers

TASKS = "services.worker.tasks"
LOOK_FOR_DEAD_S = 0.5  # the pool looks for dead children every 5 s by itself


def create_worker_app(settings: Settings) -> Celery:
    """Make the Celery application; children import the tasks by name."""
    app = Celery("m3r-worker")
    app.conf.update(celery_settings(settings))
    app.conf.update(include=(TASKS,))
    return app


def run_worker(settings: Settings) -> int:
    """Work until told to stop; gives the process' exit status."""
    # Idle OpenMP threads that spin take the processor from queue, API and each other; read when a child first loads torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.captureWarnings(True)
    log_as_json(logging.getLogger(), settings.log_level)
    app = create_worker_app(settings)
    store, objects, queue = JobStore(settings), open_store(settings), JobQueue(settings)
    reaper, guard = ReaperThread(store, queue, objects, settings), ChildGuard(settings, store, objects, queue)
    _connect_signals(reaper, guard)
    remove_leftovers(settings)
    name = f"m3r-{os.getpid()}@%h"  # several workers may share a host
    arguments = [
        "--quiet",  # no banner: what a worker writes is JSON lines
        "worker",
        "--hostname",
        name,
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
        "--loglevel",  # of what the pool writes before a child has our logs; Celery's own lines come through them
        "WARNING",
    ]
    try:
        app.worker_main(arguments)  # typed as if it never came back
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        reaper.stop()
        guard.stop()


def _connect_signals(reaper: ReaperThread, guard: ChildGuard) -> None:
    def on_ready(sender: Any, **_: Any) -> None:
        # Sent again after each reconnection, with the event loop's timers gone.
        sender.hub.call_repeatedly(LOOK_FOR_DEAD_S, sender.pool.maintain_pool)
        for thread in (reaper, guard):
            if not thread.is_alive():
                thread.start()

    def on_failure(exception: BaseException | None = None, args: Any = (), **_: Any) -> None:
        if isinstance(exception, (WorkerLostError, TimeLimitExceeded)) and args:
            guard.child_died(str(args[0]), exception)

    def on_shutting_down(**_: Any) -> None:
        guard.begin_shutdown()

    def on_shutdown(**_: Any) -> None:
        guard.stop()

    # Held strongly: Celery's signals forget receivers that nobody else holds.
    worker_ready.connect(on_ready, weak=False)
    task_failure.connect(on_failure, weak=False)
    worker_shutting_down.connect(on_shutting_down, weak=False)
    worker_shutdown.connect(on_shutdown, weak=False)
