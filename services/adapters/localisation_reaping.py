"""The end of references and maps whose retention is over, and the index of those that Redis has forgotten."""

from __future__ import annotations

from typing import Any

from services.adapters.job_scripts import to_ms
from services.adapters.job_store import JobStore
from services.adapters.localisation_store import MAPS, REFERENCES, RecordStore
from services.adapters.objects import ObjectStore
from services.adapters.settings import Settings

SWEEP_EVERY_S = 3600


def reap_localisation(store: JobStore, objects: ObjectStore, settings: Settings) -> int:
    """Remove what is kept no longer, and enter again what an emptied Redis forgot; says how many records went.

    Raises ObjectStoreError.
    """
    stores: list[RecordStore[Any]] = [
        RecordStore(REFERENCES, settings, store.redis, objects),
        RecordStore(MAPS, settings, store.redis, objects),
    ]
    ended = sum(_end(records, to_ms(store.now())) for records in stores)
    # The mark is set before the work and lost with everything else in Redis: then the index is made anew at once.
    mark = store.prefix + "localisation:swept"
    if store.redis.set(mark, 1, nx=True, ex=SWEEP_EVERY_S):
        try:
            for records in stores:
                _restore_forgotten(records, objects)
        except BaseException:
            store.redis.delete(mark)
            raise
    return ended


def _end(records: RecordStore[Any], now_ms: float) -> int:
    ended = 0
    for record_id in records.due(now_ms):
        record = records.get(record_id)
        if record is None:
            records.forget(record_id)
        else:
            records.delete(record)
            ended += 1
    return ended


def _restore_forgotten(records: RecordStore[Any], objects: ObjectStore) -> None:
    for record_id in objects.list_folders(records.kind.root):
        records.get(record_id)
