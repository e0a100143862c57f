"""The captures: what each holds, in Redis for speed and in the object store for good (synchronous, for threads).

    capture:<id>          hash: doc (CaptureRecord), frozen, bytes (with those on their way), deleted_at (ms)
    capture:<id>:images   name -> ImageInput        capture:<id>:pending   name -> SHA-256 of the bytes on their way
    capture:<id>:priors   see `prior_store`
    capture:<id>:jobs     jobs that use it          captures               ids by the time at which they may have to go (ms)

A photograph is reserved in Redis, stored, described in the object store, and entered in Redis: whatever breaks off in between,
the same bytes under the same name end the work. What Redis has lost is read from the object store again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import ValidationError

from services.adapters.job_scripts import to_ms
from services.adapters.job_store import JobStore
from services.adapters.objects import ObjectNotFound, ObjectStore
from services.adapters.prior_store import field_of, newest, read_entries
from services.contract import keys
from services.contract.captures import CaptureRecord, CaptureTombstone
from services.contract.ids import new_id
from services.contract.jobs import ImageInput, PriorFile

Refusal = Literal["other", "frozen", "gone", "too_many", "too_large"]
Deletion = Literal["deleted", "busy", "gone"]


class PhotoRefused(Exception):
    """A capture does not take a photograph."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class CaptureState:
    """A capture at one moment."""

    record: CaptureRecord
    frozen: bool
    bytes: int
    images: list[ImageInput]  # in the order of their names
    pending: frozenset[str]  # names of photographs on their way
    jobs: list[str]
    deleted_at: datetime | None
    priors: list[PriorFile] = field(default_factory=list)  # by kind and name

    def expired(self, now: datetime) -> bool:
        """Whether its time is over and no job has it."""
        return self.record.expires_at <= now and not self.jobs


class CaptureStore:
    """Every step of a capture."""

    def __init__(self, store: JobStore, objects: ObjectStore) -> None:
        self._store = store
        self._redis = store.redis
        self._objects = objects
        self._settings = store.settings

    def create(self, tenant: str, capture_id: str | None = None) -> CaptureState:
        """Make an empty capture, under an id that is free if one is given; raises ObjectStoreError."""
        now = datetime.now(UTC)
        expires_at = now + timedelta(hours=self._settings.capture_expiry_h)
        record = CaptureRecord(id=capture_id or new_id("cap"), tenant=tenant, created_at=now, expires_at=expires_at)
        self._write(record)
        self._enter(record, [], [])
        return CaptureState(record, False, 0, [], frozenset(), [], None)

    def get(self, capture_id: str) -> CaptureState | None:
        """Read a capture; one that was deleted has no photographs."""
        return self._read(capture_id) or (self._read(capture_id) if self.restore(capture_id) else None)

    def add(self, capture_id: str, image: ImageInput, store: Callable[[str], object]) -> bool:
        """Take a photograph; `store` puts its bytes under a key. False: the same was there already.

        Raises:
            PhotoRefused: the capture is frozen, full or gone, or other bytes have the name.
            ObjectStoreError: nothing was taken.
        """
        limits = (self._settings.max_photos, self._settings.max_capture_bytes)
        answer = self._store.run("capture_reserve", capture_id, image.name, image.sha256, image.bytes, *limits)
        if answer == "same":
            return False
        if answer != "reserved":
            raise PhotoRefused(answer)
        document = image.model_dump_json()
        try:
            store(keys.capture_image(capture_id, image.name))
            self._objects.put(keys.capture_entry(capture_id, image.name), document.encode(), "application/json")
        except BaseException:
            self._settle(capture_id, image, "")
            raise
        self._settle(capture_id, image, document)
        return True

    def freeze(self, capture_id: str) -> CaptureState | None:
        """Let a capture take no more photographs; gives it with all it has, None when it is gone. Raises ObjectStoreError.

        What Redis lost in a crash is looked up in the object store: every photograph that was answered for is there.
        """
        if not self._store.run("capture_freeze", capture_id):
            return None
        state = self._read(capture_id)
        if state is None:
            return None
        known = state.pending | {image.name for image in state.images}
        if state.record.frozen_at is None:
            images = [*state.images, *self._entries(capture_id, known)]
            self._enter(state.record, images, newest(state.priors, read_entries(self._objects, capture_id)))
            record = state.record.model_copy(update={"frozen_at": self._store.now()})
            self._write(record)
            self._redis.hset(self._key(capture_id), "doc", record.model_dump_json())
        return self._read(capture_id)

    def delete(self, capture_id: str, expired: bool = False) -> Deletion:
        """Delete a capture unless a job needs it (`expired`: has it). Raises ObjectStoreError: the reaper goes on."""
        tombstone_ms = round(self._settings.tombstone_days * 86_400_000)
        answer: Deletion = self._store.run("capture_delete", capture_id, tombstone_ms, "expired" if expired else "")
        if answer == "deleted":
            self.remove(capture_id)
        return answer

    def remove(self, capture_id: str) -> None:
        """Remove the photographs of a capture that was marked as deleted; first it is written down that it was."""
        state = self._read(capture_id)
        if state is not None and state.deleted_at is not None:
            tombstone = CaptureTombstone(record=state.record, deleted_at=state.deleted_at)
            self._objects.put(keys.capture_tombstone(capture_id), tombstone.model_dump_json().encode(), "application/json")
        self._objects.delete_prefix(keys.capture_prefix(capture_id))
        self._store.unmark("captures", capture_id)

    def restore(self, capture_id: str) -> bool:
        """Put back from the object store what Redis does not know; False when there is no such capture."""
        if self._restore_tombstone(capture_id):
            return True
        try:
            record = CaptureRecord.model_validate_json(self._objects.read(keys.capture_document(capture_id)))
        except (ObjectNotFound, ValidationError):
            return False
        self._enter(record, self._entries(capture_id, frozenset()), read_entries(self._objects, capture_id))
        return True

    def _enter(self, record: CaptureRecord, images: list[ImageInput], priors: list[PriorFile]) -> None:
        pipe = self._redis.pipeline(transaction=True)
        size = sum(image.bytes for image in images) + sum(prior.bytes for prior in priors)
        facts: dict[str, str | int] = {"doc": record.model_dump_json(), "bytes": size}
        if record.frozen_at is not None:
            facts["frozen"] = 1
        if images:
            pipe.hset(self._key(record.id, "images"), mapping={image.name: image.model_dump_json() for image in images})
        if priors:
            pipe.hset(self._key(record.id, "priors"), mapping={field_of(each): each.model_dump_json() for each in priors})
        pipe.hset(self._key(record.id), mapping=facts)
        pipe.zadd(self._store.prefix + "captures", {record.id: to_ms(record.expires_at)})
        pipe.execute()

    def _restore_tombstone(self, capture_id: str) -> bool:
        try:
            tombstone = CaptureTombstone.model_validate_json(self._objects.read(keys.capture_tombstone(capture_id)))
        except (ObjectNotFound, ValidationError):
            return False
        facts = {"doc": tombstone.record.model_dump_json(), "deleted_at": to_ms(tombstone.deleted_at)}
        pipe = self._redis.pipeline(transaction=True)
        pipe.hset(self._key(capture_id), mapping=facts)
        pipe.expire(self._key(capture_id), timedelta(days=self._settings.tombstone_days))
        pipe.zadd(self._store.prefix + "captures", {capture_id: facts["deleted_at"]})  # its removal may have been cut off
        pipe.execute()
        return True

    def _read(self, capture_id: str) -> CaptureState | None:
        pipe = self._redis.pipeline(transaction=True)
        pipe.hgetall(self._key(capture_id))
        pipe.hgetall(self._key(capture_id, "images"))
        pipe.hkeys(self._key(capture_id, "pending"))
        pipe.smembers(self._key(capture_id, "jobs"))
        pipe.hgetall(self._key(capture_id, "priors"))
        facts, images, pending, jobs, priors = pipe.execute()
        if "doc" not in facts:
            return None
        deleted_ms = facts.get("deleted_at")
        return CaptureState(
            record=CaptureRecord.model_validate_json(facts["doc"]),
            frozen="frozen" in facts,
            bytes=int(facts.get("bytes", 0)),
            images=[ImageInput.model_validate_json(images[name]) for name in sorted(images)],
            pending=frozenset(pending),
            jobs=sorted(jobs),
            deleted_at=datetime.fromtimestamp(float(deleted_ms) / 1000, UTC) if deleted_ms else None,
            priors=[PriorFile.model_validate_json(priors[name]) for name in sorted(priors)],
        )

    def _settle(self, capture_id: str, image: ImageInput, document: str) -> None:
        answer = self._store.run("capture_settle", capture_id, image.name, document, image.sha256, image.bytes)
        if document and answer != "done":  # it was frozen or deleted meanwhile
            self._objects.delete(keys.capture_entry(capture_id, image.name))
            self._objects.delete(keys.capture_image(capture_id, image.name))
            raise PhotoRefused(answer)

    def _entries(self, capture_id: str, known: frozenset[str]) -> list[ImageInput]:
        """Read what the object store has, but for what is known."""
        folder = keys.capture_entries_prefix(capture_id)
        found = [entry.key for entry in self._objects.list(folder)]
        unknown = [key for key in found if key.removeprefix(folder).removesuffix(".json") not in known]
        return [ImageInput.model_validate_json(self._objects.read(key)) for key in unknown]

    def _write(self, record: CaptureRecord) -> None:
        self._objects.put(keys.capture_document(record.id), record.model_dump_json().encode(), "application/json")

    def _key(self, capture_id: str, part: str = "") -> str:
        return f"{self._store.prefix}capture:{capture_id}" + (f":{part}" if part else "")
