"""Direct uploads: what was announced, and what came of it, below `captures/<id>/uploads/<upload>/` of the object store.

    uploads                  "<capture>/<upload>" by the time at which what is left of it goes (ms)
    capture:<id>:uploads     open uploads of a capture

The document of an upload lies in the object store alone. What came is read and judged before it becomes part of the capture,
under another key: a URL that is used again afterwards changes nothing, and what it leaves is removed with the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from services.adapters.capture_reaping import made_at
from services.adapters.job_scripts import to_ms
from services.adapters.job_store import JobStore
from services.adapters.objects import ObjectNotFound, ObjectStore, PresignedPut
from services.contract import keys
from services.contract.ids import is_id, new_id
from services.contract.uploads import UploadFile, UploadRecord

OPEN_AT_MOST = 16  # uploads of one capture: they bound what may lie in the store beside it


class TooManyUploads(Exception):
    """The capture has `OPEN_AT_MOST` uploads that were not completed."""


@dataclass(frozen=True)
class PresignedUpload:
    """An upload and its URLs."""

    record: UploadRecord
    expires_at: datetime
    puts: list[PresignedPut]  # in the order of the files


class UploadStore:
    """Every step of a direct upload (synchronous, for threads)."""

    def __init__(self, store: JobStore, objects: ObjectStore) -> None:
        self._store = store
        self._redis = store.redis
        self._objects = objects
        self._expiry_s = store.settings.upload_expiry_s

    def available(self) -> bool:
        """Whether the object store has URLs."""
        return self._objects.presign_put("probe", 1, 1, "0" * 64) is not None

    def begin(self, capture_id: str, files: list[UploadFile]) -> PresignedUpload:
        """Announce an upload; raises TooManyUploads, ObjectStoreError."""
        record = UploadRecord(id=new_id("upl"), capture_id=capture_id, created_at=self._store.now(), files=files)
        self._open(record)
        document = keys.upload_document(capture_id, record.id)
        self._objects.put(document, record.model_dump_json().encode(), "application/json")
        places = [keys.upload_file(capture_id, record.id, place) for place in range(len(files))]
        puts = [self._objects.presign_put(key, self._expiry_s, file.bytes, file.sha256) for key, file in zip(places, files)]
        expires_at = record.created_at + timedelta(seconds=self._expiry_s)
        return PresignedUpload(record, expires_at, [put for put in puts if put is not None])

    def find(self, capture_id: str, upload_id: str) -> UploadRecord | None:
        """Read what was announced; None when there is no such upload, or its time is over."""
        if not is_id("upl", upload_id):
            return None
        try:
            return UploadRecord.model_validate_json(self._objects.read(keys.upload_document(capture_id, upload_id)))
        except (ObjectNotFound, ValidationError):
            return None

    def read(self, record: UploadRecord, place: int) -> Iterator[bytes]:
        """Give what came as a file, at most one byte more than was announced; raises ObjectNotFound, ObjectStoreError."""
        return self._objects.open_range(self._key(record, place), 0, record.files[place].bytes + 1)

    def drop(self, record: UploadRecord, place: int) -> None:
        """Remove what came as a file."""
        self._objects.delete(self._key(record, place))

    def close(self, record: UploadRecord) -> None:
        """All of it is part of the capture. The document stays until its time is over, so that this may be asked for again."""
        self._redis.srem(self._open_key(record.capture_id), record.id)

    def reap(self) -> int:
        """Remove what is left of uploads whose time is over; says how many. Raises ObjectStoreError."""
        members = self._store.due("uploads", self._store.now())
        for member in members:
            capture_id, _, upload_id = member.partition("/")
            self._objects.delete_prefix(keys.upload_prefix(capture_id, upload_id))
            self._redis.srem(self._open_key(capture_id), upload_id)
            self._store.unmark("uploads", member)
        return len(members)

    def enter_unknown(self, capture_id: str) -> None:
        """Enter the uploads of a capture that Redis has forgotten, so that their time comes."""
        for upload_id in self._objects.list_folders(keys.uploads_prefix(capture_id)):
            if is_id("upl", upload_id):
                self._mark(capture_id, upload_id, made_at(upload_id))

    def _open(self, record: UploadRecord) -> None:
        key = self._open_key(record.capture_id)
        pipe = self._redis.pipeline(transaction=True)
        pipe.sadd(key, record.id)
        pipe.scard(key)
        pipe.expire(key, round(2 * self._expiry_s) + 1)
        if pipe.execute()[1] > OPEN_AT_MOST:
            self._redis.srem(key, record.id)
            raise TooManyUploads(record.capture_id)
        self._mark(record.capture_id, record.id, record.created_at)

    def _mark(self, capture_id: str, upload_id: str, begun_at: datetime) -> None:
        # Twice the time of the URLs: what began to arrive in their last second, and a client that completes late.
        until = begun_at + timedelta(seconds=2 * self._expiry_s)
        self._redis.zadd(self._store.prefix + "uploads", {f"{capture_id}/{upload_id}": to_ms(until)}, nx=True)

    def _open_key(self, capture_id: str) -> str:
        return f"{self._store.prefix}capture:{capture_id}:uploads"

    def _key(self, record: UploadRecord, place: int) -> str:
        return keys.upload_file(record.capture_id, record.id, place)
