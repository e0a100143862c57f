"""The end of captures: those whose time is over, and what an API that was killed in the middle of an upload has left."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from services.adapters.capture_store import CaptureStore
from services.adapters.job_scripts import to_ms
from services.adapters.job_store import JobStore
from services.adapters.objects import ObjectStore
from services.adapters.settings import Settings
from services.contract.ids import is_id
from services.contract.keys import CAPTURES_PREFIX, TOMBSTONES_PREFIX, capture_prefix

SWEEP_EVERY_S = 3600


def reap_captures(store: JobStore, objects: ObjectStore, settings: Settings) -> int:
    """Remove captures whose time has come, and now and then look for leftovers; says how many went. Raises ObjectStoreError."""
    if store.redis.get(store.prefix + "server") is None:
        return 0  # the records are not rebuilt yet: nobody knows what is in use
    captures = CaptureStore(store, objects)
    ended = sum(_end(capture_id, captures, store) for capture_id in store.due("captures", store.now()))
    # The mark is set for an hour before the work: a pass that is cut off is made up for by the next one. It is gone when Redis
    # was emptied: then the index is made anew at once.
    if store.redis.set(store.prefix + "swept", 1, nx=True, ex=SWEEP_EVERY_S):
        try:
            ended += sweep_captures(store, objects, settings)
        except BaseException:
            store.redis.delete(store.prefix + "swept")
            raise
    return ended


def sweep_captures(store: JobStore, objects: ObjectStore, settings: Settings) -> int:
    """Enter captures that Redis does not know, and remove old folders that nobody knows; says how many folders went."""
    captures, removed = CaptureStore(store, objects), 0
    for capture_id in objects.list_folders(CAPTURES_PREFIX):
        known = store.redis.exists(f"{store.prefix}capture:{capture_id}", f"{store.prefix}capture:{capture_id}:jobs")
        if known or not is_id("cap", capture_id) or captures.restore(capture_id):
            continue
        if made_at(capture_id) + timedelta(hours=settings.capture_expiry_h) < store.now():
            objects.delete_prefix(capture_prefix(capture_id))
            removed += 1
    for capture_id in objects.list_folders(TOMBSTONES_PREFIX):
        if not is_id("cap", capture_id) or _forgettable(capture_id, settings) < store.now():
            objects.delete_prefix(f"{TOMBSTONES_PREFIX}{capture_id}/")
    return removed


def keep_until_expiry(capture_id: str, store: JobStore, objects: ObjectStore) -> None:
    """The last job that had a capture is gone: it goes too when its time is over."""
    state = CaptureStore(store, objects).get(capture_id)
    if state is not None and state.deleted_at is None:
        store.redis.zadd(store.prefix + "captures", {capture_id: to_ms(state.record.expires_at)})


def made_at(capture_id: str) -> datetime:
    """When an id was made (the first 48 bits of a UUIDv7 are milliseconds)."""
    return datetime.fromtimestamp((uuid.UUID(capture_id.partition("_")[2]).int >> 80) / 1000, UTC)


def _forgettable(capture_id: str, settings: Settings) -> datetime:
    """When a deleted capture need not be answered with 410 any more: as if it had been deleted at its expiry."""
    return made_at(capture_id) + timedelta(hours=settings.capture_expiry_h, days=settings.tombstone_days)


def _end(capture_id: str, captures: CaptureStore, store: JobStore) -> int:
    state = captures.get(capture_id)
    if state is not None and state.deleted_at is None:
        if captures.delete(capture_id, expired=True) == "deleted":
            return 1
        store.unmark("captures", capture_id)  # a job has it; it comes back when the last one goes
        return 0
    captures.remove(capture_id)
    return 1
