"""What the service says about itself: information, options, health, numbers."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import redis
from anyio import to_thread
from fastapi import APIRouter, Depends, Response

from services.adapters.objects import ObjectStoreError
from services.api.answers import refusals
from services.api.auth import Caller, authorize
from services.api.metrics import CONTENT_TYPE
from services.api.options_check import options_schema
from services.api.photos import MIN_PHOTO_SIDE, PHOTO_FORMATS
from services.api.problems import ProblemError
from services.api.routes.limits import MAX_WAIT_S
from services.api.submission_form import DEFAULT_PRESET, PRESETS
from services.api.wiring import Authorized, Services, Wired
from services.contract.codes import ProblemCode
from services.contract.info import Demand, Health, Info, Limits, LocalisationLimits, Retention, TenantLimits
from services.contract.outputs import OUTPUTS
from services.contract.problems import FieldError

router = APIRouter(tags=["system"])
_KEYED = [Depends(authorize)]


@router.get("/v1/info", operation_id="getInfo", summary="Limits, presets, versions", responses=refusals())
async def get_info(services: Wired, caller: Authorized) -> Info:
    """Tell the limits, before they are met, and what can be asked for."""
    settings = services.settings
    limits = Limits(
        max_photos=settings.max_photos,
        max_photo_bytes=settings.max_photo_bytes,
        max_capture_bytes=settings.max_capture_bytes,
        max_photo_pixels=settings.max_photo_pixels,
        min_photo_side=MIN_PHOTO_SIDE,
        max_archive_entries=settings.max_archive_entries,
        max_wait_s=MAX_WAIT_S,
        job_time_limit_s=int(settings.job_time_limit_s),
        photo_formats=list(PHOTO_FORMATS.values()),
        localisation=LocalisationLimits(
            max_references=settings.max_references,
            max_photo_bytes=settings.localisation_max_photo_bytes,
            max_query_bytes=settings.localisation_max_query_bytes,
            max_query_pixels=settings.localisation_max_query_pixels,
            deadline_ms=settings.localisation_deadline_ms,
            max_deadline_ms=settings.localisation_max_deadline_ms,
            max_kept_references=settings.max_kept_references,
            max_kept_maps=settings.max_kept_maps,
        ),
    )
    tenant = await _tenant_limits(services, caller)
    return Info(
        version=version("mast3r-service"),
        api_versions=["v1"],
        checkpoint=settings.checkpoint,
        presets=list(PRESETS),
        default_preset=DEFAULT_PRESET,
        outputs=list(OUTPUTS),
        limits=limits,
        tenant=tenant,
        retention=Retention(
            job_days=settings.retention_days,
            capture_hours=settings.capture_expiry_h,
            reference_days=settings.reference_retention_days,
            map_days=settings.map_retention_days,
        ),
    )


async def _tenant_limits(services: Services, caller: Caller) -> TenantLimits:
    allowance = await to_thread.run_sync(services.quotas.allowance, caller.tenant, limiter=services.store_threads)
    return TenantLimits(
        name=caller.tenant,
        scopes=sorted(caller.scopes),
        max_jobs=allowance.jobs,
        max_photos=allowance.photos,
        max_bytes=allowance.bytes,
        rates=services.rate_limits.rates_of(await services.keyring.tenant(caller.tenant)),
    )


@router.get(
    "/v1/options",
    operation_id="getOptions",
    summary="JSON Schema of the options",
    responses=refusals(),
    dependencies=_KEYED,
)
async def get_options() -> dict[str, Any]:
    """Give the JSON Schema (2020-12) of a job's `options`."""
    return options_schema()


@router.get("/v1/system/demand", operation_id="getDemand", summary="How much waits", responses=refusals(), dependencies=_KEYED)
async def get_demand(services: Wired) -> Demand:
    """Count the jobs that wait and those that run, for an autoscaler."""
    return Demand.model_validate(await services.jobs.counts())


@router.get("/healthz/live", operation_id="getLiveness", summary="Is the process alive")
async def get_liveness() -> Health:
    """Answer; nothing else is looked at."""
    return Health(status="ok", checks={})


@router.get(
    "/healthz/ready",
    operation_id="getReadiness",
    summary="Can requests be served",
    responses={503: refusals()[503]},
)
async def get_readiness(services: Wired) -> Health:
    """Look whether the stores answer, and count the workers. Without workers jobs are still accepted; they wait."""
    faults = [
        FieldError(pointer=f"/checks/{name}", message=fault)
        for name, probe in (("job_store", _probe_jobs), ("object_store", _probe_objects))
        if (fault := await to_thread.run_sync(probe, services, limiter=services.store_threads)) is not None
    ]
    if faults:
        detail = "; ".join(f"{fault.pointer.removeprefix('/checks/')}: {fault.message}" for fault in faults)
        raise ProblemError(503, ProblemCode.STORAGE_UNAVAILABLE, detail, faults, retryable=True)
    workers = await to_thread.run_sync(services.workers.workers, limiter=services.store_threads)
    checks = {"job_store": "ok", "object_store": "ok"}
    for check, kind in (("workers", "reconstruction"), ("localisation_workers", "localisation")):
        alive = [worker for worker in workers if worker.kind == kind]
        loaded = sum(worker.weights_loaded for worker in alive)
        checks[check] = f"{len(alive)} alive, {loaded} with their weights loaded"
    return Health(status="ok", checks=checks)


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **refusals()},
    dependencies=_KEYED,
)
async def get_metrics(services: Wired) -> Response:
    """Give the API's numbers in Prometheus' text format."""
    counts = await services.jobs.counts()
    services.metrics.queued.set(counts["queued"])
    services.metrics.running.set(counts["running"])
    services.metrics.webhooks_open.set(await services.jobs.count_open_webhooks())
    return Response(services.metrics.exposition(), media_type=CONTENT_TYPE)


def _probe_jobs(services: Services) -> str | None:
    return _fault(services.blocking_jobs.redis.ping)


def _probe_objects(services: Services) -> str | None:
    return _fault(services.objects.check)


def _fault(check: Callable[[], object]) -> str | None:
    """Name the kind of failure alone: addresses and paths are nobody's business here."""
    try:
        check()
    except (redis.RedisError, ObjectStoreError, OSError) as error:
        return type(error).__name__
    return None
