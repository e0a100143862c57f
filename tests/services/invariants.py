"""What must hold of every accepted job, whatever was killed, paused, restarted or lost on its way."""

from __future__ import annotations

import hashlib
import threading
from types import TracebackType

import redis

from services.adapters.objects import ObjectStoreError
from services.contract.jobs import JobRecord
from services.contract.keys import attempts_prefix, capture_prefix, job_prefix
from services.contract.states import TERMINAL, JobStatus
from tests.services.service_stand import Stand, wait_for


def check_job(stand: Stand, job: JobRecord) -> JobRecord:
    """Exactly one terminal state, one published result set, within its attempts; no index holds it; the copy is durable."""
    record = stand.job(job)
    assert record.status in TERMINAL, f"{record.id} is {record.status}"
    check_attempts(stand, record)
    check_events(stand, record)
    check_indexes(stand, record)
    check_objects(stand, record)
    wait_for(lambda: stand.documents.read(record.id) == stand.job(record), 10, f"the durable copy of {record.id}")
    assert stand.job(job) == record, "a terminal job does not change"
    return record


def check_attempts(stand: Stand, record: JobRecord) -> None:
    outcomes = [attempt.outcome for attempt in record.attempts]
    assert [attempt.number for attempt in record.attempts] == list(range(1, len(outcomes) + 1))
    assert len({attempt.token for attempt in record.attempts}) == len(outcomes)
    assert None not in outcomes, f"{record.id} has an attempt that never ended: {outcomes}"
    assert all(outcome in ("lost", "released") for outcome in outcomes[:-1]), outcomes
    assert outcomes.count("lost") <= stand.settings.max_attempts
    assert record.token is None
    assert (record.result is not None) == (record.status is JobStatus.SUCCEEDED)
    assert (record.error is not None) == (record.status is JobStatus.FAILED)
    if record.result is not None:
        assert outcomes[-1] == "succeeded"
        assert record.result.token == record.attempts[-1].token, "the result is another attempt's than the one that held the job"


def check_events(stand: Stand, record: JobRecord) -> None:
    statuses = [event.data for event in stand.store.events(record.id, count=5000) if event.event == "status"]
    if not statuses:
        return  # the stream went with a Redis that lost its data
    terminal = [status for status in statuses if status["terminal"]]
    assert len(terminal) == 1, statuses
    assert statuses[-1] == terminal[0]
    assert terminal[0]["status"] == record.status
    versions = [status["version"] for status in statuses]
    assert versions == sorted(set(versions))


def check_indexes(stand: Stand, record: JobRecord) -> None:
    for index in ("queued", "leases", "deadlines", "sent"):
        assert stand.store.redis.zscore(stand.store.prefix + index, record.id) is None, f"{record.id} is still in {index}"


def check_objects(stand: Stand, record: JobRecord) -> None:
    published = {record.result.token} if record.result else set()

    def only_published() -> bool:
        found = stand.objects.list(attempts_prefix(record.id))
        return {entry.key.split("/")[3] for entry in found} == published

    wait_for(only_published, 15, f"the removal of what lost attempts of {record.id} left behind")
    for artifact in record.result.artifacts if record.result else []:
        stored = stand.objects.stat(f"{attempts_prefix(record.id)}{record.attempts[-1].token}/{artifact.name}")
        assert stored is not None
        assert (stored.bytes, stored.sha256) == (artifact.bytes, artifact.sha256)


def fingerprint(stand: Stand, job: JobRecord) -> dict[str, str]:
    """Everything that belongs to a job: its record, and the SHA-256 of every object of its own and of its capture."""
    keys = [entry.key for prefix in (job_prefix(job.id), capture_prefix(job.capture_id)) for entry in stand.objects.list(prefix)]
    return {
        "record": stand.job(job).model_dump_json(),
        **{key: hashlib.sha256(stand.objects.read(key)).hexdigest() for key in keys},
    }


class Witness:
    """A client that looks at a job all the time: an end that was once seen stays, with the result that was seen."""

    def __init__(self, stand: Stand, job: JobRecord) -> None:
        self._stand = stand
        self._job = job
        self._seen: set[tuple[str, str | None]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def check(self, final: JobRecord) -> None:
        """Raise unless every end that was seen is the final one."""
        assert self._seen <= {_end(final)}, f"{final.id} has ended as {_end(final)}, and was seen to end as {self._seen}"

    def _look(self) -> None:
        while not self._stop.wait(0.03):
            try:
                record = self._stand.store.get(self._job.id) or self._stand.documents.read(self._job.id)
            except (redis.RedisError, ObjectStoreError):
                continue
            if record is not None and record.terminal:
                self._seen.add(_end(record))

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(30)


def _end(record: JobRecord) -> tuple[str, str | None]:
    return record.status.value, record.result.token if record.result else None
