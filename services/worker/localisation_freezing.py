"""Freezing a finished job into a map: its photographs and poses fetched, the engine's files stored, the record published."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from services.adapters.job_documents import JobDocuments
from services.adapters.job_store import JobStore
from services.adapters.localisation_store import RecordStore
from services.adapters.objects import ObjectNotFound, ObjectStore, ObjectStoreError
from services.adapters.settings import Settings
from services.contract import keys
from services.contract.jobs import Artifact, JobRecord
from services.contract.localisation import PoseScale
from services.contract.localisation_records import MapError, MapRecord
from services.worker.engine import Photo
from services.worker.failures import is_device_fault, is_out_of_memory
from services.worker.localisation_engine import LocalisationEngine, SceneToFreeze
from services.worker.scratch import base_folder

log = logging.getLogger("m3r.localisation")


class JobGone(Exception):
    """The job, or what it was made of, is not there any more."""

    code = "job_gone"


class MapFreezer:
    """Builds maps with one engine."""

    def __init__(
        self,
        engine: LocalisationEngine,
        store: JobStore,
        objects: ObjectStore,
        maps: RecordStore[MapRecord],
        settings: Settings,
    ) -> None:
        self._engine = engine
        self._store = store
        self._documents = JobDocuments(store, objects)
        self._objects = objects
        self._maps = maps
        self._settings = settings

    def build(self, map_id: str, give_way: Callable[[], None]) -> None:
        """Build a map that waits for it, and publish it or the reason why it cannot be.

        Raises:
            ObjectStoreError, redis.RedisError: a store is away; try again.
            BaseException: what `give_way` raises, and device faults.
        """
        record = self._maps.get(map_id)
        if record is None or record.status != "building":
            return
        try:
            with tempfile.TemporaryDirectory(prefix="m3r-freeze-", dir=base_folder(self._settings)) as name:
                published = self._build(record, Path(name), give_way)
        except ObjectStoreError:
            raise
        except Exception as error:
            code = "out_of_memory" if is_out_of_memory(error) else getattr(error, "code", None)
            if is_device_fault(error) or not isinstance(code, str):
                raise
            self.fail(record, code, str(error) or "memory did not suffice")
            return
        if not self._maps.update(published):
            log.info("map %s was deleted while it was built", map_id)
            self._objects.delete_prefix(keys.map_prefix(map_id))

    def fail(self, record: MapRecord, code: str, message: str) -> None:
        """Say that a map cannot be built."""
        log.warning("map %s: %s: %s", record.id, code, message)
        with contextlib.suppress(ObjectStoreError):
            self._objects.delete_prefix(f"{keys.map_prefix(record.id)}builds/")
        self._maps.update(record.model_copy(update={"status": "failed", "error": MapError(code=code, message=message[:1000])}))

    def _build(self, record: MapRecord, folder: Path, give_way: Callable[[], None]) -> MapRecord:
        job = self._store.get(record.job_id) or self._documents.read(record.job_id)
        scene = self._fetch(job, folder)
        made = folder / "map"
        made.mkdir()
        frozen = self._engine.freeze(scene, made, give_way)
        build = secrets.token_hex(8)
        files = [self._upload(record.id, build, path, made) for path in sorted(made.rglob("*")) if path.is_file()]
        return record.model_copy(
            update={
                "status": "ready",
                "build": build,
                "files": files,
                "fingerprint": self._engine.fingerprint,
                "photos": frozen.photos,
                "scale": PoseScale(metric=frozen.metric, source=frozen.scale_source),
            }
        )

    def _fetch(self, job: JobRecord | None, folder: Path) -> SceneToFreeze:
        if job is None or job.deleted_at is not None or job.result is None:
            raise JobGone("the job was deleted before its scene was frozen; reconstruct it again")
        (folder / "photos").mkdir()
        token = job.result.token
        try:
            photos = [
                Photo(image.name, self._read(keys.capture_image(job.capture_id, image.name), folder / "photos" / image.name))
                for image in job.images
            ]
            poses = self._read(keys.artifact(job.id, token, "poses.json"), folder / "poses.json")
        except ObjectNotFound as error:
            raise JobGone(f"what the job was made of is gone ({error}); reconstruct it again") from None
        try:
            state: Path | None = self._read(keys.kept_scene(job.id, token), folder / "scene.npz")
        except ObjectNotFound:
            state = None
        return SceneToFreeze(photos, poses, state)

    def _read(self, key: str, path: Path) -> Path:
        with path.open("wb") as file:
            for chunk in self._objects.open_range(key):
                file.write(chunk)
        return path

    def _upload(self, map_id: str, build: str, path: Path, folder: Path) -> Artifact:
        name = path.relative_to(folder).as_posix()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            stored = self._objects.put(keys.map_file(map_id, build, name), file)
        return Artifact(name=name, media_type="application/octet-stream", bytes=stored.bytes, sha256=digest)
