"""The end of a job's data: deletion on request, at the end of retention, and of leftovers of attempts that lost the job."""

from __future__ import annotations

from services.adapters.capture_reaping import keep_until_expiry
from services.adapters.job_documents import JobDocuments
from services.adapters.job_store import JobStore
from services.adapters.objects import ObjectStore
from services.contract.jobs import JobRecord
from services.contract.keys import attempt_prefix, attempts_prefix, capture_prefix, job_prefix


def remove_data(record: JobRecord, store: JobStore, documents: JobDocuments, objects: ObjectStore) -> None:
    """Remove what a deleted job has in the object store; its tombstone stays. May be repeated; raises ObjectStoreError."""
    objects.delete_prefix(attempts_prefix(record.id))
    if not store.capture_in_use(record.capture_id):  # another job, a retry of this one say, may need it still
        if record.owns_capture:
            objects.delete_prefix(capture_prefix(record.capture_id))
        else:
            keep_until_expiry(record.capture_id, store, objects)
    store.redis.delete(f"{store.prefix}progress:{record.id}", f"{store.prefix}events:{record.id}")
    documents.write(record.id)
    store.unmark("purges", record.id)


def remove_strays(record: JobRecord, objects: ObjectStore) -> int:
    """Remove the artefacts of every attempt but the one that the record names; says how many objects there were."""
    published = record.result.token if record.result else None
    folders = list(objects.list_folders(attempts_prefix(record.id)))
    return sum(objects.delete_prefix(attempt_prefix(record.id, token)) for token in folders if token != published)


def forget_job(record: JobRecord, store: JobStore, objects: ObjectStore) -> None:
    """Remove a tombstone whose time is over."""
    objects.delete_prefix(job_prefix(record.id))
    store.forget(record)
