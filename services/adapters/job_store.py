"""The jobs in Redis: the truth about every job, changed by compare-and-set alone (synchronous form, for workers and threads).

Times are the Redis server's, so clocks of hosts need not agree. A step that was written but whose answer got lost on the way
is recognised by its token and reported as done.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any

from services.adapters import transitions
from services.adapters.job_scripts import (
    ABSENT,
    CAPTURE_GONE,
    EVENTS_KEPT,
    TOO_MANY_JOBS,
    from_redis_time,
    script,
    swap_arguments,
    to_ms,
)
from services.adapters.redis_client import Client, connect
from services.adapters.settings import Settings
from services.contract.events import JobEvent
from services.contract.jobs import JobError, JobRecord, JobResult, ProgressReport
from services.contract.states import JobStatus

# Named here because `JobStore.list` hides the builtin inside the class.
Ids = list[str]
Records = list[JobRecord]
Found = list[JobRecord | None]
Page = tuple[list[JobRecord], str | None]
Events = list[JobEvent]
Step = Callable[[JobRecord, datetime], JobRecord | None]


class JobNotFound(Exception):
    """There is no record of this job."""


class JobExists(Exception):
    """There is a record of this job already."""


class CaptureGone(Exception):
    """The photographs of the capture are gone, or about to go."""


class TooManyJobs(Exception):
    """The tenant has as many jobs that wait or run as it may."""


ACTIVE = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELING)


class JobStore:
    """Every change of a job, in one compare-and-set each."""

    def __init__(self, settings: Settings, client: Client | None = None) -> None:
        self.settings = settings
        self.redis = client or connect(settings)
        self.prefix = settings.key_prefix
        self._scripts: dict[str, Any] = {}

    def create(self, record: JobRecord, requires: str | None = None, max_active: int | None = None) -> None:
        """Store a new job.

        Args:
            requires: what must be there so that the photographs are: the capture, or another job that has it.
            max_active: so many jobs of the tenant may wait or run, this one with them.

        Raises:
            JobExists: there is a job with this id.
            CaptureGone: it was deleted.
            TooManyJobs: the tenant has so many.
        """
        answer = self.run("swap", *swap_arguments(record, ABSENT, False, self.settings, requires, max_active)[1:])
        if answer == TOO_MANY_JOBS:
            raise TooManyJobs(f"tenant {record.tenant} has {max_active} jobs that wait or run")
        if answer == CAPTURE_GONE:
            raise CaptureGone(f"the photographs of capture {record.capture_id} are gone")
        if not answer and self.get(record.id) != record:
            raise JobExists(f"{record.id} exists already")

    def get(self, job_id: str) -> JobRecord | None:
        """Read a job."""
        return self.read(job_id)[0]

    def read(self, job_id: str) -> tuple[JobRecord | None, datetime]:
        """Read a job and the server's time."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.hget(self.prefix + "job:" + job_id, "doc")
        pipe.time()
        document, time = pipe.execute()
        return JobRecord.model_validate_json(document) if document else None, from_redis_time(time)

    def now(self) -> datetime:
        """The Redis server's time."""
        return from_redis_time(self.redis.time())

    def replace(self, record: JobRecord, expected_version: int) -> bool:
        """Write a record if its version in the store is still the expected one."""
        return self._swap(record, expected_version)

    def claim(self, job_id: str, worker: str) -> JobRecord | None:
        """Take a queued job: attempt + 1, new token, lease. None: another has it, it ended, or its deadline has passed."""
        token = secrets.token_hex(12)

        def step(record: JobRecord, now: datetime) -> JobRecord | None:
            return transitions.expire(record, now) or transitions.claim(record, worker, token, now)

        record = self._change(job_id, step)
        record = record or self.get(job_id)
        return record if record is not None and record.token == token else None

    def heartbeat(self, job_id: str, token: str, progress: ProgressReport | None = None) -> JobStatus | None:
        """Extend the lease and report progress. Gives the status (canceling: please stop), None when the token is old.

        Raises:
            JobNotFound: the server knows no such job; after a restart with data lost the record is about to be rebuilt.
        """
        document = progress.model_dump_json() if progress else ""
        lease_ms = round(self.settings.lease_s * 1000)
        answer = self.run("heartbeat", job_id, token, lease_ms, document, EVENTS_KEPT)
        if answer == "missing":
            raise JobNotFound(f"{job_id} is not known")
        return None if answer == "lost" else JobStatus(answer)

    def commit(self, job_id: str, token: str, result: JobResult) -> bool:
        """Publish a result and end the job; False when the token is old."""
        return self._settle(job_id, token, "succeeded", lambda record, now: transitions.succeed(record, result, now))

    def fail(self, job_id: str, token: str, error: JobError) -> bool:
        """End the job with an error; False when the token is old."""
        return self._settle(job_id, token, "failed", lambda record, now: transitions.fail(record, error, now))

    def finish_canceled(self, job_id: str, token: str) -> bool:
        """End a job that was asked to stop; False when the token is old."""
        return self._settle(job_id, token, "canceled", transitions.cancel)

    def release(self, job_id: str, token: str) -> bool:
        """Give the job back to the queue; the attempt does not count as lost. False when the token is old."""
        return self._settle(job_id, token, "released", transitions.release)

    def lose(self, job_id: str, token: str, error: JobError) -> bool:
        """Take the job from an attempt whose worker is gone: queued again, or failed when its attempts are used up."""
        cap = self.settings.max_attempts
        return self._settle(job_id, token, "lost", lambda record, now: transitions.lose(record, error, cap, now))

    def expire(self, job_id: str) -> bool:
        """End a queued job whose deadline has passed."""
        return self._change(job_id, transitions.expire) is not None

    def request_cancel(self, job_id: str) -> JobRecord:
        """Ask a job to stop; a job that has ended stays as it is."""
        return self._change(job_id, transitions.request_cancel) or self.require(job_id)

    def mark_deleted(self, job_id: str) -> JobRecord:
        """Leave a tombstone of a job that has ended; a job that has not stays as it is."""
        return self._change(job_id, transitions.delete) or self.require(job_id)

    def mark_enqueued(self, job_id: str) -> None:
        """Note that a message for this job was sent to the queue, or seen in it."""
        self.redis.zadd(self.prefix + "sent", {job_id: to_ms(self.now())})

    def forget(self, record: JobRecord) -> None:
        """Remove every trace of a job."""
        self.run("forget", record.id, record.tenant, record.capture_id)

    def restore(self, record: JobRecord) -> bool:
        """Put a durable copy back if it is newer than what is here. A running job gets a fresh lease: its worker may live."""
        current = self.get(record.id)
        if current is not None and current.version >= record.version:
            return False
        held = record.status in transitions.HELD
        return self._swap(record, ABSENT if current is None else current.version, takes_lease=held)

    def require(self, job_id: str) -> JobRecord:
        """Read a job; raises JobNotFound."""
        record = self.get(job_id)
        if record is None:
            raise JobNotFound(f"{job_id} is not known")
        return record

    def list(
        self, tenant: str, status: JobStatus | None = None, label: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page:
        """List a tenant's jobs, newest first, and the cursor of the next page. `label` is "key" or "key=value"."""
        found: Records = []
        while True:
            ids, records = self._page(tenant, status, cursor, limit)
            for job_id, record in zip(ids, records, strict=True):
                cursor = job_id
                if record is not None and matches(record, label):
                    found.append(record)
                if len(found) == limit:
                    return found, cursor
            if len(ids) < limit:
                return found, None

    def queue_position(self, job_id: str) -> int | None:
        """Say how many jobs stand before this one; None when it is not queued."""
        position = self.redis.zrank(self.prefix + "queued", job_id)
        return None if position is None else int(position)

    def progress(self, job_id: str) -> ProgressReport | None:
        """Read how far a job is."""
        document = self.redis.get(self.prefix + "progress:" + job_id)
        return ProgressReport.model_validate_json(document) if document else None

    def events(self, job_id: str, after: str = "0-0", count: int = 100) -> Events:
        """Read what happened after an event."""
        return read_events(self.redis.xrange(self.prefix + "events:" + job_id, "(" + after, "+", count=count))

    def capture_in_use(self, capture_id: str) -> bool:
        """Say whether a job that is not deleted uses a capture."""
        return bool(self.redis.exists(f"{self.prefix}capture:{capture_id}:jobs"))

    def active(self, tenant: str) -> int:
        """Say how many jobs of a tenant wait or run."""
        pipe = self.redis.pipeline(transaction=False)
        for status in ACTIVE:
            pipe.zcard(index_of(self.prefix, tenant, status))
        return sum(int(count) for count in pipe.execute())

    def counts(self) -> dict[str, int]:
        """Say how many jobs are queued and running."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.zcard(self.prefix + "queued")
        pipe.zcard(self.prefix + "leases")
        queued, running = pipe.execute()
        return {"queued": int(queued), "running": int(running)}

    def due(self, index: str, until: datetime, limit: int = 500) -> Ids:
        """Read the ids of an index (leases, deadlines, expiry, strays, purges, dirty) whose time has come."""
        ids: Ids = self.redis.zrangebyscore(self.prefix + index, "-inf", to_ms(until), start=0, num=limit)
        return ids

    def unmark(self, index: str, *members: str) -> None:
        """Take ids out of an index."""
        self.redis.zrem(self.prefix + index, *members)

    def run(self, name: str, *arguments: Any) -> Any:
        """Run one of the Lua scripts."""
        if name not in self._scripts:
            self._scripts[name] = self.redis.register_script(script(name))
        return self._scripts[name](args=[self.prefix, *arguments])

    def holds(self, record: JobRecord, token: str) -> bool:
        """The fencing check: only the attempt that holds the job may end it."""
        return transitions.holds(record, token)

    def _settle(self, job_id: str, token: str, outcome: transitions.Outcome, step: Step) -> bool:
        changed = self._change(job_id, lambda record, now: step(record, now) if self.holds(record, token) else None)
        if changed is not None:
            return True
        record = self.get(job_id)
        return record is not None and transitions.ended_as(record, token, outcome)

    def _change(self, job_id: str, step: Step) -> JobRecord | None:
        while True:
            record, now = self.read(job_id)
            if record is None:
                raise JobNotFound(f"{job_id} is not known")
            following = step(record, now)
            if following is None:
                return None
            takes_lease = following.status is JobStatus.RUNNING and record.status is JobStatus.QUEUED
            if self._swap(following, record.version, takes_lease):
                return following

    def _swap(self, record: JobRecord, expected: int, takes_lease: bool = False) -> bool:
        _, *arguments = swap_arguments(record, expected, takes_lease, self.settings)
        return bool(self.run("swap", *arguments))

    def _page(self, tenant: str, status: JobStatus | None, cursor: str | None, limit: int) -> tuple[Ids, Found]:
        ids = self.redis.zrevrangebylex(index_of(self.prefix, tenant, status), f"({cursor}" if cursor else "+", "-", 0, limit)
        pipe = self.redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hget(self.prefix + "job:" + job_id, "doc")
        return ids, [JobRecord.model_validate_json(document) if document else None for document in pipe.execute()]


def index_of(prefix: str, tenant: str, status: JobStatus | None) -> str:
    """Name the sorted set that lists a tenant's jobs."""
    return f"{prefix}jobs:{tenant}" + (f":{status.value}" if status else "")


def matches(record: JobRecord, label: str | None) -> bool:
    """Say whether a job carries a label, "key" or "key=value"."""
    if label is None:
        return True
    name, separator, value = label.partition("=")
    return name in record.labels and (not separator or record.labels[name] == value)


def read_events(entries: Any) -> list[JobEvent]:
    """Read entries of a Redis stream."""
    return [JobEvent(id=entry, event=fields["event"], data=json.loads(fields["data"])) for entry, fields in entries]
