"""`/v1/jobs/{job_id}/deliveries`: what a job's webhook was told, and telling it again."""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from fastapi import APIRouter

from services.adapters.webhook_outbox import DeliveryInProgress, DeliveryNotFound
from services.api.answers import refusals
from services.api.job_access import find_job
from services.api.problems import ProblemError
from services.api.wiring import Authorized, Wired
from services.contract.codes import ProblemCode
from services.contract.webhooks import Delivery, DeliveryList

router = APIRouter(tags=["jobs"])

_LINKS: dict[str, Any] = {
    "redeliver": {
        "operationId": "redeliver",
        "parameters": {"job_id": "$request.path.job_id", "delivery_id": "$response.body#/items/0/id"},
    }
}


@router.get(
    "/v1/jobs/{job_id}/deliveries",
    operation_id="listDeliveries",
    summary="What a job's webhook was told",
    responses={200: {"links": _LINKS}, **refusals(404, 410)},
)
async def list_deliveries(job_id: str, services: Wired, caller: Authorized) -> DeliveryList:
    """List the job's events in their order, with the tries at delivering each. `failed`: given up; it can be sent again."""
    await find_job(services, caller, job_id)
    items = await to_thread.run_sync(services.outbox.deliveries, job_id, limiter=services.store_threads)
    return DeliveryList(items=items)


@router.post(
    "/v1/jobs/{job_id}/deliveries/{delivery_id}/redeliver",
    operation_id="redeliver",
    summary="Tell a job's webhook again",
    status_code=202,
    responses=refusals(404, 409, 410),
)
async def redeliver(job_id: str, delivery_id: str, services: Wired, caller: Authorized) -> Delivery:
    """Send an event again, at once and with all its tries, whatever became of it before. Id, sequence and body stay the same.

    While the job's webhook is being told something: 409, try again.
    """
    await find_job(services, caller, job_id)
    try:
        return await to_thread.run_sync(services.outbox.reopen, job_id, delivery_id, limiter=services.store_threads)
    except DeliveryNotFound:
        raise ProblemError(404, ProblemCode.NOT_FOUND, f"job {job_id} has no delivery {delivery_id[:100]}") from None
    except DeliveryInProgress:
        detail = f"the webhook of job {job_id} is being told something at this moment; try again in a second"
        raise ProblemError(409, ProblemCode.CONFLICT, detail, headers={"Retry-After": "1"}, retryable=True) from None
