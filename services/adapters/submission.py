"""From a validated record to an accepted job, in the order that loses nothing."""

from __future__ import annotations

import contextlib

from services.adapters.job_documents import JobDocuments
from services.adapters.job_store import JobStore
from services.adapters.objects import ObjectStoreError
from services.adapters.queue import JobQueue, QueueUnavailable
from services.contract.jobs import JobRecord
from services.contract.states import JobStatus


def submit_job(
    record: JobRecord,
    store: JobStore,
    documents: JobDocuments,
    queue: JobQueue,
    requires: str | None = None,
    max_active: int | None = None,
) -> None:
    """Accept a job: record, durable copy, message. After this the job is answered with 202 and runs whatever happens.

    A process that dies after the record was made leaves a job that the reaper completes. A message that cannot be sent is
    sent by the reaper.

    Args:
        requires: the capture, or another job that has it; it must not be deleted.
        max_active: so many jobs of the tenant may wait or run, this one with them.

    Raises:
        CaptureGone: it was deleted.
        TooManyJobs: the tenant has so many.
        ObjectStoreError: no durable copy could be written; the record is gone again, the job was not accepted.
        JobExists: there is such a job.
    """
    store.create(record, requires, max_active)
    try:
        documents.write(record.id)
    except ObjectStoreError:
        store.forget(record)
        raise
    ring(record.id, store, queue)


def ring(job_id: str, store: JobStore, queue: JobQueue) -> None:
    """Send a message for a job if it is queued; where that is not possible now, the reaper does it later."""
    record = store.get(job_id)
    if record is not None and record.status is JobStatus.QUEUED:
        with contextlib.suppress(QueueUnavailable):
            queue.send(job_id)
            store.mark_enqueued(job_id)
