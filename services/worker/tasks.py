"""The Celery tasks, and what each child process of a worker sets up when it starts. Nothing before that touches a device."""

from __future__ import annotations

import logging
import os
import socket
from functools import cache
from typing import Any

import redis
from celery import shared_task
from celery.signals import setup_logging, worker_process_init

from services.adapters.job_documents import JobDocuments
from services.adapters.job_store import JobStore
from services.adapters.json_logs import log_as_json
from services.adapters.objects import open_store
from services.adapters.queue import JobQueue
from services.adapters.settings import Settings
from services.adapters.worker_registry import WorkerRegistry
from services.contract.tasks import RECONSTRUCT_TASK
from services.worker.attempt import Workplace, attempt_job
from services.worker.engine import Engine
from services.worker.memory import limit_memory
from services.worker.resident import ResidentEngine


@shared_task(name=RECONSTRUCT_TASK)
def reconstruct(job_id: str) -> None:
    """Answer to a message, which carries the job's id alone."""
    attempt_job(job_id, workplace())


@cache
def workplace() -> Workplace:
    """Open what this process works with, once; its settings come from the environment that its parent gave it."""
    settings = Settings()
    store, objects = JobStore(settings), open_store(settings)

    def announce(engine: Engine) -> None:
        name = f"{socket.gethostname()}/{os.getppid()}"
        try:
            WorkerRegistry(settings, store.redis).engine_loaded(name, os.getpid(), engine.name)
        except redis.RedisError:
            logging.getLogger("m3r.worker").warning("could not say that the engine is loaded", exc_info=True)

    return Workplace(
        settings,
        store,
        objects,
        JobQueue(settings, store.redis),
        JobDocuments(store, objects),
        ResidentEngine(settings, announce),
    )


@worker_process_init.connect
def begin_child(**_: Any) -> None:
    """In a fresh child: limit its memory and begin to load the engine."""
    place = workplace()
    limit_memory(place.settings.memory_limit_bytes)
    place.engine.load_in_background()


@setup_logging.connect
def begin_logging(**_: Any) -> None:
    """Log JSON lines to standard error; a receiver of this signal keeps Celery from setting up its own."""
    logging.captureWarnings(True)
    log_as_json(logging.getLogger(), Settings().log_level)
