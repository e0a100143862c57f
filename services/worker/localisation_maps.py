"""Maps in the worker's memory: fetched from the object store when they are asked for, the ones unused for longest go."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from services.adapters.objects import ObjectNotFound, ObjectStore
from services.adapters.settings import Settings
from services.contract import keys
from services.contract.localisation_records import MapRecord
from services.worker.byte_cache import ByteCache
from services.worker.localisation_engine import LocalisationEngine, OpenMap
from services.worker.scratch import base_folder

log = logging.getLogger("m3r.localisation")


class MapUnusable(Exception):
    """A map cannot be used with the network that is loaded, or is gone."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class MapShelf:
    """Gives maps, opened."""

    def __init__(self, engine: LocalisationEngine, objects: ObjectStore, settings: Settings) -> None:
        self._engine = engine
        self._objects = objects
        self._settings = settings
        self._cache: ByteCache[OpenMap] = ByteCache(settings.localisation_cache_bytes)

    def get(self, record: MapRecord) -> OpenMap:
        """Give a map.

        Raises:
            MapUnusable: it was frozen by another checkpoint, or was deleted.
            ObjectStoreError: the store does not answer.
            Exception: what the engine raises.
        """
        if record.build is None or record.fingerprint != self._engine.fingerprint:
            detail = f"map {record.id} was frozen with another checkpoint than the one that is loaded; freeze its job again"
            raise MapUnusable("map_not_ready", detail)
        key = f"{record.id}/{record.build}"
        found = self._cache.get(key)
        if found is None:
            found = self._open(record, record.build)
            size = sum(file.bytes for file in record.files)
            self._cache.put(key, found, size)
            if size > self._settings.localisation_cache_bytes:
                log.warning("%s has %d bytes, more than localisation_cache_bytes: every query reads it anew", record.id, size)
        return found

    def _open(self, record: MapRecord, build: str) -> OpenMap:
        with tempfile.TemporaryDirectory(prefix="m3r-map-", dir=base_folder(self._settings)) as name:
            for file in record.files:
                path = Path(name) / file.name
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    with path.open("wb") as target:
                        for chunk in self._objects.open_range(keys.map_file(record.id, build, file.name)):
                            target.write(chunk)
                except ObjectNotFound:
                    raise MapUnusable("not_found", f"map {record.id} was deleted") from None
            return self._engine.open_map(Path(name))
