"""What the node says about itself."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Any

from anyio import to_thread
from fastapi import APIRouter

from services.adapters.job_store import index_of
from services.api.wiring import Services, Wired
from services.contract.states import JobStatus
from services.nodeodm.error_form import error_answer
from services.nodeodm.option_table import TABLE
from services.nodeodm.token_access import TokenHolder

router = APIRouter()

PROTOCOL_VERSION = "2.2.1"  # of the documented interface that this follows
UNENDED = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELING)


@router.get("/info")
async def get_info(services: Wired, caller: TokenHolder) -> dict[str, Any]:
    """Tell versions, limits, and how many tasks of the caller wait or run."""
    pipe = services.jobs.redis.pipeline(transaction=False)
    for status in UNENDED:
        pipe.zcard(index_of(services.jobs.prefix, caller.tenant, status))
    page = os.sysconf("SC_PAGE_SIZE")
    return {
        "version": PROTOCOL_VERSION,
        "taskQueueCount": sum(await pipe.execute()),
        "maxImages": services.settings.max_photos,
        "maxParallelTasks": await to_thread.run_sync(_workers, services, limiter=services.store_threads),
        "engine": "m3r",
        "engineVersion": version("mast3r-service"),
        "cpuCores": os.cpu_count() or 1,
        "totalMemory": os.sysconf("SC_PHYS_PAGES") * page,
        "availableMemory": os.sysconf("SC_AVPHYS_PAGES") * page,
    }


@router.get("/options")
async def get_options(_: TokenHolder) -> list[dict[str, Any]]:
    """List the options that tasks may have."""
    return [
        {"name": each.name, "type": each.type, "value": each.value, "domain": each.domain, "help": each.help} for each in TABLE
    ]


@router.get("/auth/info")
async def get_login() -> dict[str, Any]:
    """Tell how to log in: not at all, keys are made by the operator."""
    message = "Tokens are API keys of this service; ask its operator for one (m3r keys create)."
    return {"message": message, "loginUrl": None, "registerUrl": None}


@router.post("/auth/login")
@router.post("/auth/register")
async def refuse_login() -> Any:
    """Refuse: there are no user names here."""
    return error_answer("there is no login here; tokens are API keys of this service, ask its operator for one")


def _workers(services: Services) -> int:
    return max(1, len(services.workers.workers()))
