"""The end of direct uploads, and of objects whose writers died before they were whole."""

from __future__ import annotations

from datetime import timedelta

from services.adapters.job_store import JobStore
from services.adapters.objects import ObjectStore
from services.adapters.upload_store import UploadStore
from services.contract.keys import CAPTURES_PREFIX

SWEEP_EVERY_S = 3600
UNFINISHED_AFTER = timedelta(hours=24)  # no object takes so long to be written


def reap_uploads(store: JobStore, objects: ObjectStore) -> int:
    """Remove uploads whose time has come, and now and then look for forgotten ones; says how many. Raises ObjectStoreError."""
    uploads = UploadStore(store, objects)
    # As for captures: the mark is gone when Redis was emptied, and taken back when the pass is cut off.
    if store.redis.set(store.prefix + "swept-uploads", 1, nx=True, ex=SWEEP_EVERY_S):
        try:
            sweep_uploads(store, objects)
        except BaseException:
            store.redis.delete(store.prefix + "swept-uploads")
            raise
    return uploads.reap()


def sweep_uploads(store: JobStore, objects: ObjectStore) -> None:
    """Enter uploads that Redis does not know, and remove what was never finished. Raises ObjectStoreError."""
    objects.remove_unfinished(store.now() - UNFINISHED_AFTER)
    uploads = UploadStore(store, objects)
    if uploads.available():
        for capture_id in objects.list_folders(CAPTURES_PREFIX):
            uploads.enter_unknown(capture_id)
