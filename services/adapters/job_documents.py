"""The durable copies of the job records, `jobs/<id>/job.json` in the object store: an empty Redis is rebuilt from them.

The store marks a job dirty in the compare-and-set that changes it. A writer adds a mark of its own before it reads, writes, and
takes both away only if no newer version has come: whoever dies in between leaves a mark, and the reaper writes again.
"""

from __future__ import annotations

import secrets

from pydantic import ValidationError

from services.adapters import transitions
from services.adapters.job_scripts import to_ms
from services.adapters.job_store import JobStore
from services.adapters.objects import ObjectNotFound, ObjectStore
from services.contract.jobs import JobRecord, JobResult
from services.contract.keys import JOBS_PREFIX, attempt_result, job_document

MARK = "|"  # separates a job's id from the writer's mark


class JobDocuments:
    """Writes and reads the durable copies."""

    def __init__(self, store: JobStore, objects: ObjectStore) -> None:
        self._store = store
        self._objects = objects

    def write(self, job_id: str) -> None:
        """Bring the durable copy up to date; raises ObjectStoreError."""
        mark = f"{job_id}{MARK}{secrets.token_hex(4)}"
        self._store.redis.zadd(self._store.prefix + "dirty", {mark: to_ms(self._store.now())})
        while True:
            record = self._store.get(job_id)
            if record is None:  # forgotten meanwhile, and its copy with it
                self._store.unmark("dirty", job_id, mark)
                return
            self._objects.put(job_document(job_id), record.model_dump_json().encode(), "application/json")
            if self._store.run("documented", job_id, mark, record.version):
                return

    def write_dirty(self, older_than_s: float) -> int:
        """Write the copies that are behind for some time (a writer died, or the store was away); says how many."""
        until = self._store.now().timestamp() - older_than_s
        members = self._store.redis.zrangebyscore(self._store.prefix + "dirty", "-inf", round(until * 1000), start=0, num=500)
        for job_id in sorted({member.partition(MARK)[0] for member in members}):
            self.write(job_id)
        marks = [member for member in members if MARK in member]
        if marks:
            self._store.unmark("dirty", *marks)
        return len(members)

    def read(self, job_id: str) -> JobRecord | None:
        """Read a durable copy; None when there is none, or what lies there is not one.

        A job whose holder had all its results written has succeeded: somebody may have been told so by a Redis that has lost it
        since, before the copy was brought up to date.
        """
        try:
            record = JobRecord.model_validate_json(self._objects.read(job_document(job_id)))
        except (ObjectNotFound, ValidationError):
            return None
        result = self._announced(record)
        return record if result is None else transitions.succeed(record, result, self._store.now())

    def announce(self, job_id: str, result: JobResult) -> None:
        """Say what is about to be published; raises ObjectStoreError."""
        self._objects.put(attempt_result(job_id, result.token), result.model_dump_json().encode(), "application/json")

    def rebuild(self) -> int:
        """Put every record back that Redis lacks or has in an older version; says how many."""
        restored = 0
        for job_id in self._objects.list_folders(JOBS_PREFIX):
            record = self.read(job_id)
            if record is not None and self._store.restore(record):
                restored += 1
        return restored

    def _announced(self, record: JobRecord) -> JobResult | None:
        if record.status not in transitions.HELD or record.token is None:
            return None
        try:
            return JobResult.model_validate_json(self._objects.read(attempt_result(record.id, record.token)))
        except (ObjectNotFound, ValidationError):
            return None
