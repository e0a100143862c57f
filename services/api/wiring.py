"""What the routes work with: opened when the application starts, closed when it ends, handed over as annotated dependencies."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from services.adapters.async_job_store import AsyncJobStore
from services.adapters.capture_store import CaptureStore
from services.adapters.idempotency import IdempotencyStore
from services.adapters.job_documents import JobDocuments
from services.adapters.job_store import JobStore
from services.adapters.key_store import KeyStore
from services.adapters.link_secrets import LinkSecrets
from services.adapters.localisation_client import LocalisationClient
from services.adapters.localisation_store import MAPS, REFERENCES, RecordStore
from services.adapters.objects import ObjectStore, ObjectStoreError, open_store
from services.adapters.prior_store import PriorStore
from services.adapters.queue import JobQueue
from services.adapters.reaper import ReaperThread
from services.adapters.settings import Settings
from services.adapters.upload_store import UploadStore
from services.adapters.webhook_delivery import make_sender
from services.adapters.webhook_outbox import WebhookOutbox
from services.adapters.webhook_secrets import WebhookSecrets
from services.adapters.webhook_thread import WebhookThread
from services.adapters.worker_registry import WorkerRegistry
from services.api.auth import Caller, authorize
from services.api.job_watch import JobWatch
from services.api.keyring import Keyring
from services.api.metrics import Metrics
from services.api.quotas import Quotas
from services.api.rate_limits import RateLimits
from services.api.recovery import Recovery
from services.api.signed_links import LinkSigner
from services.api.webhook_door import WebhookDoor
from services.contract.localisation_records import MapRecord, ReferenceRecord

UPLOAD_THREADS = 8  # photographs inspected and stored at a time
STORE_THREADS = 16  # reads of the object store at a time


@dataclass(frozen=True)
class Services:
    """The stores, the queue, and the threads that may use them."""

    settings: Settings
    objects: ObjectStore
    jobs: AsyncJobStore
    blocking_jobs: JobStore  # the same jobs, for threads
    captures: CaptureStore
    priors: PriorStore
    uploads: UploadStore
    documents: JobDocuments
    recovery: Recovery
    queue: JobQueue
    idempotency: IdempotencyStore
    workers: WorkerRegistry
    webhook_door: WebhookDoor
    outbox: WebhookOutbox
    watch: JobWatch
    metrics: Metrics
    keyring: Keyring
    links: LinkSigner
    rate_limits: RateLimits
    quotas: Quotas
    localisation: LocalisationClient
    references: RecordStore[ReferenceRecord]
    maps: RecordStore[MapRecord]
    upload_threads: CapacityLimiter
    store_threads: CapacityLimiter


@contextlib.asynccontextmanager
async def open_services(settings: Settings, metrics: Metrics) -> AsyncIterator[Services]:
    """Open everything, and a reaper beside it. Stores that do not answer yet are no error: requests say so until they do."""
    objects = open_store(settings)
    with contextlib.suppress(ObjectStoreError):
        await to_thread.run_sync(objects.check)  # makes a new directory store's folder
    jobs, blocking_jobs = AsyncJobStore(settings), JobStore(settings)
    queue = JobQueue(settings, blocking_jobs.redis)
    watch = JobWatch(jobs, metrics)
    localisation = LocalisationClient(settings, jobs.redis)
    reaper = ReaperThread(blocking_jobs, queue, objects, settings)
    outbox, webhook_secrets = WebhookOutbox(blocking_jobs), WebhookSecrets(settings, objects)
    sender = make_sender(blocking_jobs, outbox, webhook_secrets, settings)
    webhooks = WebhookThread(sender, lambda outcome: metrics.webhooks.labels(outcome).inc())
    rate_limits = RateLimits(settings)
    watch.start()
    reaper.start()
    webhooks.start()
    try:
        yield Services(
            settings=settings,
            objects=objects,
            jobs=jobs,
            blocking_jobs=blocking_jobs,
            captures=CaptureStore(blocking_jobs, objects),
            priors=PriorStore(blocking_jobs, objects),
            uploads=UploadStore(blocking_jobs, objects),
            documents=JobDocuments(blocking_jobs, objects),
            recovery=Recovery(jobs, blocking_jobs, JobDocuments(blocking_jobs, objects)),
            queue=queue,
            idempotency=IdempotencyStore(settings, jobs.redis),
            workers=WorkerRegistry(settings, blocking_jobs.redis),
            webhook_door=WebhookDoor(settings, webhook_secrets),
            outbox=outbox,
            watch=watch,
            metrics=metrics,
            keyring=Keyring(settings, KeyStore(objects)),
            links=LinkSigner(LinkSecrets(objects), settings.signed_link_s),
            rate_limits=rate_limits,
            quotas=Quotas(settings, blocking_jobs, KeyStore(objects)),
            localisation=localisation,
            references=RecordStore(REFERENCES, settings, blocking_jobs.redis, objects),
            maps=RecordStore(MAPS, settings, blocking_jobs.redis, objects),
            upload_threads=CapacityLimiter(UPLOAD_THREADS),
            store_threads=CapacityLimiter(STORE_THREADS),
        )
    finally:
        await watch.stop()
        await localisation.close()
        reaper.stop()
        await to_thread.run_sync(webhooks.stop)
        await rate_limits.close()
        await jobs.close()
        blocking_jobs.redis.close()


async def get_services(request: Request) -> Services:
    """Hand the application's services to a route. A coroutine, since others are run in threads."""
    services: Services = request.app.state.services
    return services


Wired = Annotated[Services, Depends(get_services)]
Authorized = Annotated[Caller, Depends(authorize)]
