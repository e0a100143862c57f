"""One attempt at a job, in the worker's child: claim, fetch, work, upload, commit."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import redis

from services.adapters.job_documents import JobDocuments
from services.adapters.job_store import JobNotFound, JobStore
from services.adapters.json_logs import log_facts
from services.adapters.objects import ObjectStore, ObjectStoreError, OutOfSpace, StorageUnavailable
from services.adapters.queue import JobQueue
from services.adapters.reaper import recover_from_restart
from services.adapters.settings import Settings
from services.adapters.submission import ring
from services.contract.codes import JobErrorCode
from services.contract.jobs import Artifact, ImageInput, JobRecord, JobResult, Metrics
from services.contract.keys import artifact, attempt_prefix, capture_image, kept_scene
from services.contract.presets import apply_preset, shrink
from services.worker.engine import EngineJob, EngineResult, Photo
from services.worker.failures import describe_failure, is_device_fault, is_out_of_memory, named
from services.worker.lease import JobCanceled, Lease, LeaseLost
from services.worker.memory import peak_memory_bytes
from services.worker.patience import persist
from services.worker.priors import fetch_priors
from services.worker.resident import ResidentEngine
from services.worker.scratch import working_folder

log = logging.getLogger("m3r.worker")

QUEUE_PATIENCE_S = 600.0  # a finished result is offered for so long to a Redis that is away
DEVICE_FAULT_EXIT = 70


@dataclass(frozen=True)
class Workplace:
    """What an attempt works with; one per process."""

    settings: Settings
    store: JobStore
    objects: ObjectStore
    queue: JobQueue
    documents: JobDocuments
    engine: ResidentEngine

    @property
    def worker(self) -> str:
        """Names this process: host, parent, child."""
        return f"{socket.gethostname()}/{os.getppid()}/{os.getpid()}"


def attempt_job(job_id: str, place: Workplace) -> None:
    """Try to do a job. A message too many ends at the claim."""
    try:
        record = persist(lambda: _claim(job_id, place), (redis.RedisError,), QUEUE_PATIENCE_S)
    except JobNotFound:
        record = None
    if record is None:
        log.info("%s: nothing to do", job_id, extra={"job_id": job_id})
        return
    attempt = len(record.attempts)
    facts: dict[str, object] = {"request_id": record.request_id, "tenant": record.tenant, "job_id": job_id, "attempt": attempt}
    log.info("%s: attempt %d", job_id, attempt, extra=facts)
    with log_facts(**facts), Lease(place.store, record) as lease:
        _document(place, job_id)
        try:
            result = _work(record, lease, place)
            _announce(job_id, result, lease, place)
            lease.check()
            published = persist(
                lambda: place.store.commit(job_id, lease.token, result), (redis.RedisError, JobNotFound), QUEUE_PATIENCE_S
            )
            if not published:
                raise LeaseLost(f"{job_id}: the result came too late")
            log.info("%s: succeeded with %d artefacts", job_id, len(result.artifacts))
        except BaseException as error:
            _settle(error, lease, place)
    _document(place, job_id)


def _claim(job_id: str, place: Workplace) -> JobRecord | None:
    # A Redis that lost its last second may show as queued what has ended since: first what the documents know, then the claim.
    recover_from_restart(place.store, place.documents)
    return place.store.claim(job_id, place.worker)


def _work(record: JobRecord, lease: Lease, place: Workplace) -> JobResult:
    lease.report("load", 0.0)
    engine = place.engine.get()
    with working_folder(place.settings, lease.token) as folder:
        photos = [_fetch(image, record, folder / "photos", lease, place) for image in record.images]
        priors = fetch_priors(record, folder / "priors", partial(_fetch_object, lease=lease, place=place))
        options = apply_preset(record.preset, record.options)
        job = EngineJob(photos, options, record.outputs, record.strict_images, folder / "results", priors)
        shrunk: list[str] = []
        try:
            made = engine.run(job, lease.report)
        except Exception as error:
            if not is_out_of_memory(error) or is_device_fault(error):
                raise
            shrunk.append(f"memory did not suffice ({error}); this is the result of a second try with smaller settings")
        if shrunk:  # outside the handler, so that the failed try's frames and their memory are gone
            made = engine.run(replace(job, options=shrink(options), folder=folder / "second"), lease.report)
        artifacts = [_upload(file.name, file.path, file.media_type, record, lease, place) for file in made.files]
        if made.scene is not None:
            _keep_scene(made.scene, record, lease, place)
    return _result(record, made, artifacts, shrunk, lease, place)


def _fetch(image: ImageInput, record: JobRecord, folder: Path, lease: Lease, place: Workplace) -> Photo:
    path = folder / image.name
    _fetch_object(capture_image(record.capture_id, image.name), image.sha256, path, lease, place)
    return Photo(image.name, path)


def _fetch_object(key: str, sha256: str, path: Path, lease: Lease, place: Workplace) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)

    def fetch() -> None:
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for chunk in place.objects.open_range(key):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != sha256:
            raise StorageUnavailable(f"{key}: the bytes are not those that were uploaded")

    lease.check()
    persist(fetch, (StorageUnavailable,), place.settings.storage_patience_s, lease.check)


def _upload(name: str, path: Path, media_type: str, record: JobRecord, lease: Lease, place: Workplace) -> Artifact:
    def upload() -> Artifact:
        with path.open("rb") as file:
            stored = place.objects.put(artifact(record.id, lease.token, name), file, media_type)
        return Artifact(name=name, media_type=media_type, bytes=stored.bytes, sha256=stored.sha256)

    lease.check()
    return persist(upload, (StorageUnavailable, OutOfSpace), place.settings.storage_patience_s, lease.check)


def _keep_scene(path: Path, record: JobRecord, lease: Lease, place: Workplace) -> None:
    def upload() -> None:
        with path.open("rb") as file:
            place.objects.put(kept_scene(record.id, lease.token), file)

    lease.check()
    persist(upload, (StorageUnavailable, OutOfSpace), place.settings.storage_patience_s, lease.check)


def _announce(job_id: str, result: JobResult, lease: Lease, place: Workplace) -> None:
    lease.check()
    errors = (StorageUnavailable, OutOfSpace)
    persist(lambda: place.documents.announce(job_id, result), errors, place.settings.storage_patience_s, lease.check)


def _result(
    record: JobRecord, made: EngineResult, artifacts: list[Artifact], shrunk: list[str], lease: Lease, place: Workplace
) -> JobResult:
    started = record.attempts[-1].started_at
    finished = persist(place.store.now, (redis.RedisError,), QUEUE_PATIENCE_S)
    metrics = Metrics(
        queue_s=round((started - record.queued_at).total_seconds(), 3),
        compute_s=round((finished - started).total_seconds(), 3),
        images_used=len(made.registered),
        images_total=len(record.images),
        points=made.points,
        stage_seconds=dict(made.stage_seconds) or lease.stage_seconds(),
        peak_memory_bytes=peak_memory_bytes(),
    )
    warnings = [*made.warnings, *shrunk]
    return JobResult(
        token=lease.token, artifacts=artifacts, scale=made.scale, quality=made.quality, metrics=metrics, warnings=warnings
    )


def _settle(error: BaseException, lease: Lease, place: Workplace) -> None:
    """End an attempt that did not succeed, as its error says."""
    if not isinstance(error, Exception):  # SystemExit: counts as lost, or a job that exits would be tried for ever
        lost = named(JobErrorCode.WORKER_LOST, f"the worker's process was ended: {error!r}")
        _offer(lambda: place.store.lose(lease.job_id, lease.token, lost))
        raise error
    if isinstance(error, LeaseLost):
        log.warning("%s", error)
    elif isinstance(error, JobCanceled):
        _offer(lambda: place.store.finish_canceled(lease.job_id, lease.token))
    elif is_device_fault(error):
        _leave_device(error, lease, place)
    else:
        failure = describe_failure(error, place.settings.job_time_limit_s)
        unexpected = failure.code is JobErrorCode.ENGINE_ERROR
        log.warning("%s: %s: %s", lease.job_id, failure.code.value, failure.message, exc_info=error if unexpected else None)
        _offer(lambda: place.store.fail(lease.job_id, lease.token, failure))
    with contextlib.suppress(ObjectStoreError):  # what stays is removed by the reaper
        place.objects.delete_prefix(attempt_prefix(lease.job_id, lease.token))


def _leave_device(error: Exception, lease: Lease, place: Workplace) -> None:
    """A device fault poisons the process: hand the job on and end the process, whose parent starts another."""
    log.error("%s: device fault; this process ends", lease.job_id, exc_info=error)
    lost = named(JobErrorCode.WORKER_LOST, f"the device failed: {error}"[:500])
    _offer(lambda: place.store.lose(lease.job_id, lease.token, lost))
    with contextlib.suppress(redis.RedisError):
        ring(lease.job_id, place.store, place.queue)
    _document(place, lease.job_id)
    logging.shutdown()
    os._exit(DEVICE_FAULT_EXIT)


def _offer(step: Callable[[], bool]) -> None:
    persist(step, (redis.RedisError, JobNotFound), QUEUE_PATIENCE_S)


def _document(place: Workplace, job_id: str) -> None:
    with contextlib.suppress(ObjectStoreError, redis.RedisError):  # the mark stays; the reaper writes the copy
        place.documents.write(job_id)
