"""What is known beforehand of a capture's photographs: files in the object store, and which of them hold (for threads).

    capture:<id>:priors   "<kind>/<photograph's name>" -> PriorFile

A file lies under an id of its own and never changes: one that replaces another does not touch what a job was given. Its bytes go
when it is replaced before a job was made of the capture, else with the capture. In the object store every file has an entry; of
several about the same thing the one with the greatest id holds, as in Redis.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import BinaryIO, Literal

from services.adapters.job_store import JobStore
from services.adapters.objects import ObjectStore, ObjectStoreError
from services.contract import keys
from services.contract.jobs import PriorFile, PriorKind

MEDIA_TYPES: dict[PriorKind, str] = {"cameras": "application/json", "mask": "image/png", "depth": "image/png"}


class PriorRefused(Exception):
    """A capture does not take a file."""

    def __init__(self, reason: Literal["gone", "too_large"]) -> None:
        super().__init__(reason)
        self.reason = reason


class PriorStore:
    """Puts files of priors into captures and takes them out."""

    def __init__(self, store: JobStore, objects: ObjectStore) -> None:
        self._store = store
        self._objects = objects

    def put(self, capture_id: str, prior: PriorFile, data: BinaryIO) -> bool:
        """Store a file and let it hold instead of the one before, if any (then False). `prior.id` is not looked at.

        Raises:
            PriorRefused: the capture is full or gone.
            ObjectStoreError: what held before still does.
        """
        prior = prior.model_copy(update={"id": self._new_id()})
        file, entry = (
            keys.capture_prior(capture_id, prior.id),
            keys.capture_prior_entry(capture_id, prior.kind, prior.name, prior.id),
        )
        data.seek(0)
        try:
            self._objects.put(file, data, MEDIA_TYPES[prior.kind])
            self._objects.put(entry, prior.model_dump_json().encode(), "application/json")
        except ObjectStoreError:
            self._remove_quietly(entry, file)
            raise
        # Where Redis breaks off it may have entered the file: then nothing is removed.
        limit = self._store.settings.max_capture_bytes
        answer = self._store.run("prior_enter", capture_id, field_of(prior), prior.model_dump_json(), limit)
        if answer[0] in ("gone", "too_large"):
            self._remove_quietly(entry, file)
            raise PriorRefused(answer[0])
        old, free = str(answer[1]), bool(answer[2])
        if old:
            old_entry = keys.capture_prior_entry(capture_id, prior.kind, prior.name, old)
            self._remove_quietly(old_entry, *([keys.capture_prior(capture_id, old)] if free else []))
        return not old

    def remove(self, capture_id: str, kind: PriorKind, name: str) -> None:
        """Let nothing be said any more; raises PriorRefused (gone), ObjectStoreError: the same request may be sent again."""
        self._objects.delete_prefix(keys.capture_prior_entries_of(capture_id, kind, name))
        answer = self._store.run("prior_remove", capture_id, f"{kind}/{name}")
        if answer[0] == "gone":
            raise PriorRefused("gone")
        if answer[1] and answer[2]:
            self._remove_quietly(keys.capture_prior(capture_id, str(answer[1])))

    def _new_id(self) -> str:
        """In the order of one clock, that of Redis; hosts' own clocks differ."""
        seconds, micros = self._store.redis.time()
        return f"{seconds * 1_000_000 + micros:016x}-{secrets.token_hex(6)}"

    def _remove_quietly(self, *keys_: str) -> None:
        with contextlib.suppress(ObjectStoreError):  # nobody looks at it any more; it goes with the capture
            for key in keys_:
                self._objects.delete(key)


def field_of(prior: PriorFile) -> str:
    """What it is about."""
    return f"{prior.kind}/{prior.name}"


def newest(*found: list[PriorFile]) -> list[PriorFile]:
    """Of several files about the same thing the one that holds."""
    holding: dict[str, PriorFile] = {}
    for prior in sorted((prior for each in found for prior in each), key=lambda prior: prior.id):
        holding[field_of(prior)] = prior
    return list(holding.values())


def read_entries(objects: ObjectStore, capture_id: str) -> list[PriorFile]:
    """Read from the object store which files hold; raises ObjectStoreError."""
    found = [entry.key for entry in objects.list(keys.capture_prior_entries_prefix(capture_id))]
    return newest([PriorFile.model_validate_json(objects.read(key)) for key in found])
