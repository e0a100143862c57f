"""What a tenant keeps: photographs, and bytes of photographs and results, summed from the records (synchronous, for threads).

Nothing is counted up and down that a crash could leave wrong: the records are the truth. Of a job that has not changed only the
version is read again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from services.adapters.job_store import JobStore, index_of
from services.contract.captures import CaptureRecord
from services.contract.jobs import JobRecord

BATCH = 500


@dataclass(frozen=True)
class Usage:
    """What is kept."""

    photos: int
    bytes: int


@dataclass(frozen=True)
class _Job:
    version: int
    capture_id: str
    photos: int
    photo_bytes: int
    result_bytes: int


class UsageMeter:
    """Sums up what a tenant keeps; thread-safe."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._redis = store.redis
        self._jobs: dict[str, dict[str, _Job]] = {}  # tenant -> job -> what it has
        self._owners: dict[str, str] = {}  # capture -> tenant
        self._lock = threading.Lock()

    def measure(self, tenant: str) -> Usage:
        """Sum up what a tenant keeps now; raises redis.RedisError."""
        with self._lock:
            jobs = self._read_jobs(tenant)
            photos = {job.capture_id: (job.photos, job.photo_bytes) for job in jobs.values()}  # several jobs share a capture
            for capture, (count, size) in self._read_captures(tenant):  # it may hold more than its jobs: priors sent later
                known = photos.get(capture, (0, 0))
                photos[capture] = (max(known[0], count), max(known[1], size))
        results = sum(job.result_bytes for job in jobs.values())
        references, kept = self._read_localisation(tenant)
        count = sum(count for count, _ in photos.values()) + references
        return Usage(count, results + sum(size for _, size in photos.values()) + kept)

    def _read_localisation(self, tenant: str) -> tuple[int, int]:
        """References, and bytes of references and maps."""
        references, maps = self._each("HVALS", [f"references:{tenant}:bytes", f"maps:{tenant}:bytes"])
        return len(references), sum(map(int, [*references, *maps]))

    def _read_jobs(self, tenant: str) -> dict[str, _Job]:
        known, found = self._jobs.get(tenant, {}), dict[str, _Job]()
        ids = self._redis.zrange(index_of(self._store.prefix, tenant, None), 0, -1)
        for batch in _batches(ids):
            versions = self._each("HGET", [f"job:{job_id}" for job_id in batch], "version")
            for job_id, version in zip(batch, versions):
                if version is not None and job_id in known and known[job_id].version == int(version):
                    found[job_id] = known[job_id]
            unknown = [job_id for job_id in batch if job_id not in found]
            documents = self._each("HGET", [f"job:{job_id}" for job_id in unknown], "doc")
            found |= {job_id: _weigh(document) for job_id, document in zip(unknown, documents) if document}
        self._jobs[tenant] = found
        return found

    def _read_captures(self, tenant: str) -> Iterator[tuple[str, tuple[int, int]]]:
        """Captures, but for those that were made for one job: their photographs, those on their way too."""
        ids = self._redis.zrange(self._store.prefix + "captures", 0, -1)
        self._owners = {capture: owner for capture in ids if (owner := self._owners.get(capture)) is not None}
        for batch in _batches(ids):
            self._learn_owners([capture for capture in batch if capture not in self._owners])
            own = [capture for capture in batch if self._owners.get(capture) == tenant]
            facts = self._each("HMGET", [f"capture:{capture}" for capture in own], "bytes", "deleted_at")
            stored = self._each("HLEN", [f"capture:{capture}:images" for capture in own])
            pending = self._each("HLEN", [f"capture:{capture}:pending" for capture in own])
            for capture, (size, deleted), *counts in zip(own, facts, stored, pending):
                if deleted is None:
                    yield capture, (sum(counts), int(size or 0))

    def _learn_owners(self, captures: list[str]) -> None:
        documents = self._each("HGET", [f"capture:{capture}" for capture in captures], "doc")
        for capture, document in zip(captures, documents):
            if document:
                self._owners[capture] = CaptureRecord.model_validate_json(document).tenant

    def _each(self, command: str, names: list[str], *arguments: str) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for name in names:
            pipe.execute_command(command, self._store.prefix + name, *arguments)
        return list(pipe.execute()) if names else []


def _weigh(document: str) -> _Job:
    record = JobRecord.model_validate_json(document)
    return _Job(
        version=record.version,
        capture_id=record.capture_id,
        photos=len(record.images),
        photo_bytes=record.input_bytes,
        result_bytes=sum(file.bytes for file in record.result.artifacts) if record.result else 0,
    )


def _batches(ids: list[str]) -> Iterator[list[str]]:
    for at in range(0, len(ids), BATCH):
        yield ids[at : at + BATCH]
