"""The reaper: puts right what crashes, lost messages and passing time leave behind. Every pass may be repeated or cut off.

It runs in the workers' parents and in the API; a lock in Redis lets one at a time work.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import redis

from services.adapters.capture_reaping import reap_captures
from services.adapters.job_documents import JobDocuments
from services.adapters.job_scripts import to_ms
from services.adapters.job_store import JobNotFound, JobStore
from services.adapters.localisation_reaping import reap_localisation
from services.adapters.objects import ObjectStore, ObjectStoreError
from services.adapters.queue import SCAN_LIMIT, JobQueue, QueueUnavailable
from services.adapters.retention import forget_job, remove_data, remove_strays
from services.adapters.settings import Settings
from services.adapters.submission import ring
from services.adapters.transitions import job_error
from services.adapters.upload_reaping import reap_uploads
from services.contract.codes import JobErrorCode
from services.contract.jobs import JobRecord

log = logging.getLogger("m3r.reaper")

LOCK_AT_LEAST_S = 5.0  # a reaper that dies in a pass keeps others away for so long, or for a lease; two at once do no harm
SLOWEST_PASS_S = 5.0
RINGING_S = 1.0  # a job queued just now is being rung for by whoever queued it


@dataclass(frozen=True)
class ReapReport:
    """What one pass did, in jobs."""

    restored: int = 0  # put back from their durable copies
    lost: int = 0  # leases that had run out
    expired: int = 0  # deadlines passed while queued
    resent: int = 0  # queued jobs that had no message
    documented: int = 0  # durable copies that were behind
    strays: int = 0  # objects of lost attempts removed
    deleted: int = 0  # data removed: retention over, or asked for
    forgotten: int = 0  # tombstones removed
    captures: int = 0  # captures removed: their time was over, or nobody knew them
    uploads: int = 0  # direct uploads whose time was over
    localisation: int = 0  # references and maps whose retention was over


def reap_once(store: JobStore, queue: JobQueue, objects: ObjectStore, settings: Settings) -> ReapReport:
    """Make one pass. What needs only Redis comes first; an object store that is away ends the pass early, for now."""
    documents = JobDocuments(store, objects)
    restored = recover_from_restart(store, documents)
    now = store.now()
    lost = sum(lose_expired(store, queue, job_id) for job_id in store.due("leases", now))
    expired = sum(store.expire(job_id) for job_id in store.due("deadlines", now))
    resent = resend_lost_messages(store, queue, settings)
    try:
        documented = documents.write_dirty(older_than_s=min(settings.lease_s, 5.0))
        strays = sum(_each(store, "strays", now, lambda record: remove_strays(record, objects)))
        deleted = sum(_each(store, "purges", now, lambda record: _purge(record, store, documents, objects)))
        forgotten = sum(_each(store, "expiry", now, lambda record: _end_retention(record, store, objects), unmark=False))
        captures = reap_captures(store, objects, settings)
        uploads = reap_uploads(store, objects)
        localisation = reap_localisation(store, objects, settings)
    except ObjectStoreError as error:
        log.warning("the object store does not answer; its part of the pass is left for later: %s", error)
        return ReapReport(restored, lost, expired, resent)
    return ReapReport(restored, lost, expired, resent, documented, strays, deleted, forgotten, captures, uploads, localisation)


def recover_from_restart(store: JobStore, documents: JobDocuments) -> int:
    """After a restart of Redis: put back what it lost, and give every lease a full period, since nobody could be heard.

    The server's run id tells a restart; an empty server knows none.
    """
    run_id = str(store.redis.info("server")["run_id"])
    key = store.prefix + "server"
    if store.redis.get(key) == run_id:
        return 0
    store.run("extend_leases", round(store.settings.lease_s * 1000))
    try:
        restored = documents.rebuild()
    except ObjectStoreError as error:
        log.warning("records cannot be rebuilt yet: %s", error)
        return 0
    store.redis.set(key, run_id)
    log.info("first pass on this Redis server: %d records put back", restored)
    return restored


def lose_expired(store: JobStore, queue: JobQueue, job_id: str) -> bool:
    """Take a job from a worker that was not heard for a whole lease."""
    record = store.get(job_id)
    if record is None or record.token is None:
        store.unmark("leases", job_id)
        return False
    message = f"the worker {record.attempts[-1].worker} was not heard for {store.settings.lease_s:g} s"
    lost = store.lose(job_id, record.token, job_error(JobErrorCode.WORKER_LOST, message))
    ring(job_id, store, queue)
    if lost:
        attempt = len(record.attempts)
        facts = {"job_id": job_id, "request_id": record.request_id, "tenant": record.tenant, "attempt": attempt}
        log.warning("%s: attempt %d: %s", job_id, attempt, message, extra=facts)
    return lost


def resend_lost_messages(store: JobStore, queue: JobQueue, settings: Settings) -> int:
    """Ring again for queued jobs whose message is gone: never sent, or taken by a worker that died before its claim."""
    now = store.now()
    sent_before = to_ms(now - timedelta(seconds=settings.lease_s))
    ids = store.due("queued", now - timedelta(seconds=RINGING_S), SCAN_LIMIT)
    sent = store.redis.zmscore(store.prefix + "sent", ids) if ids else []
    doubtful = [job_id for job_id, at in zip(ids, sent, strict=True) if at is None or at < sent_before]
    waiting = queue.waiting() if doubtful else set()
    resent = 0
    for job_id in doubtful:
        try:
            if job_id not in waiting:
                queue.send(job_id)
                resent += 1
        except QueueUnavailable as error:
            log.warning("%s", error)
            return resent
        store.mark_enqueued(job_id)
    return resent


def _purge(record: JobRecord, store: JobStore, documents: JobDocuments, objects: ObjectStore) -> int:
    remove_data(record, store, documents, objects)
    return 1


def _end_retention(record: JobRecord, store: JobStore, objects: ObjectStore) -> int:
    if record.deleted_at is None:
        store.mark_deleted(record.id)  # the next pass removes the data
        return 0
    forget_job(record, store, objects)
    return 1


def _each(store: JobStore, index: str, now: datetime, work: Callable[[JobRecord], int], unmark: bool = True) -> list[int]:
    done = []
    for job_id in store.due(index, now):
        record = store.get(job_id)
        done.append(work(record) if record is not None else 0)
        if unmark or record is None:
            store.unmark(index, job_id)
    return done


class ReaperThread(threading.Thread):
    """Makes a pass every third of a lease, if no other reaper is at work."""

    def __init__(self, store: JobStore, queue: JobQueue, objects: ObjectStore, settings: Settings) -> None:
        super().__init__(name="reaper", daemon=True)
        self._parts = (store, queue, objects, settings)
        self._pause_s = min(settings.lease_s / 3, SLOWEST_PASS_S)
        self._ended = threading.Event()

    def run(self) -> None:
        """Reap until told to stop. Redis away: try again; nothing can be reaped meanwhile."""
        while not self._ended.wait(self._pause_s):
            try:
                self._pass()
            except (redis.RedisError, JobNotFound, OSError) as error:
                log.warning("the pass was cut off: %s", error)
            except Exception:
                log.exception("the pass failed")

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        if self.is_alive():
            self.join(timeout=10)

    def _pass(self) -> None:
        store, queue, objects, settings = self._parts
        mine, key = secrets.token_hex(8), store.prefix + "reaper"
        if not store.redis.set(key, mine, nx=True, px=timedelta(seconds=max(LOCK_AT_LEAST_S, settings.lease_s))):
            return
        try:
            report = reap_once(store, queue, objects, settings)
            if report != ReapReport():
                log.info("%s", report)
        finally:
            if store.redis.get(key) == mine:
                store.redis.delete(key)
