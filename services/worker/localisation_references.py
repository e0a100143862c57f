"""Encoded references: in memory first, then in the object store, else encoded from the photograph and kept."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

import redis

from services.adapters.objects import ObjectNotFound, ObjectStore, ObjectStoreError
from services.contract import keys
from services.worker.byte_cache import ByteCache
from services.worker.localisation_engine import Encoded, LocalisationEngine
from services.worker.localisation_photos import decode_photo

log = logging.getLogger("m3r.localisation")


class ReferenceGone(Exception):
    """A reference was deleted between the question and the answer."""

    code = "not_found"


class ReferenceShelf:
    """Gives encoded references by id, without their cameras, which the query brings."""

    def __init__(
        self, engine: LocalisationEngine, objects: ObjectStore, cache_bytes: int, on_encoded: Callable[[str], None]
    ) -> None:
        """`on_encoded` is told the ids of references whose encoding lies in the store."""
        self._engine = engine
        self._objects = objects
        self._on_encoded = on_encoded
        self._cache: ByteCache[Encoded] = ByteCache(cache_bytes)

    def get(self, reference_id: str, name: str) -> Encoded:
        """Give a reference, encoded.

        Raises:
            ReferenceGone: it is not there any more.
            ObjectStoreError: the store does not answer.
            Exception: what the engine raises.
        """
        found = self._cache.get(reference_id)
        if found is None:
            found = self._fetch(reference_id) or self._encode(reference_id, name)
            self._cache.put(reference_id, found, self._engine.size_of(found))
            with contextlib.suppress(redis.RedisError):  # shown to clients, nothing more
                self._on_encoded(reference_id)
        return found

    def _fetch(self, reference_id: str) -> Encoded | None:
        try:
            data = self._objects.read(keys.reference_encoding(reference_id, self._engine.fingerprint))
        except ObjectNotFound:
            return None
        try:
            return self._engine.unpack(data)
        except Exception as error:
            log.warning("%s: its encoding cannot be read and is made anew: %s", reference_id, error)
            return None

    def _encode(self, reference_id: str, name: str) -> Encoded:
        try:
            data = self._objects.read(keys.reference_image(reference_id))
        except ObjectNotFound:
            raise ReferenceGone(f"reference {reference_id} was deleted") from None
        encoded = self._engine.encode([decode_photo(name, data, None)])[0]
        with contextlib.suppress(ObjectStoreError):  # only time is lost
            self._objects.put(keys.reference_encoding(reference_id, self._engine.fingerprint), self._engine.pack(encoded))
            if self._objects.stat(keys.reference_image(reference_id)) is None:  # deleted meanwhile
                self._objects.delete_prefix(keys.reference_prefix(reference_id))
        return encoded
