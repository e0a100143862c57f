"""`Idempotency-Key`: a request that is sent again is answered as the first time and done once.

Only accepted requests are kept: a refused one changed nothing, so its key is free again. The entry names the job before it is
made; a try that dies leaves its lease to run out, and the next one finds the job under that name, or makes it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

import redis
from fastapi import Header, Response

from services.adapters.idempotency import Busy, Done, IdempotencyStore, Taken
from services.api.acceptance import Accepted, Submission
from services.api.photo_intake import DigestingStore, PhotoStore
from services.api.problems import ProblemError
from services.api.wiring import Services
from services.contract.codes import ProblemCode
from services.contract.ids import new_id

REPLAYED = "Idempotent-Replayed"
LONGEST_RETRY_AFTER_S = 5
KEY_PATTERN = r"^[\x21-\x7e]{1,255}$"

IdempotencyKey = Annotated[
    str,
    Header(
        pattern=KEY_PATTERN,
        description="Any text of yours, a UUID say. For 24 h the same request under it is answered as the first time, with "
        "`Idempotent-Replayed: true`, and makes no second job; another request under it is refused (422).",
    ),
]
Read = Callable[[PhotoStore], Awaitable[Submission]]
Respond = Callable[[Accepted], Awaitable[Response]]


async def submit(services: Services, tenant: str, key: str, read: Read, at_once: Respond, respond: Respond) -> Response:
    """Answer a submission.

    Args:
        key: the client's `Idempotency-Key`; "" when it sent none.
        read: reads the request, storing its photographs in what it is given.
        at_once: answers that the job is accepted.
        respond: gives the answer that the client waits for, perhaps long after.

    Raises:
        ProblemError: request_in_flight (409) while another try is at work; idempotency_key_reused (422) for another request.
    """
    if not key:
        submission = await read(services.objects)
        return await respond(await submission.accept(new_id("job")))
    store = services.idempotency
    begun = await store.begin(tenant, key, new_id("job"))
    if isinstance(begun, Busy):
        raise _in_flight(begun.seconds)
    if isinstance(begun, Done):
        submission = await read(DigestingStore())
        _require_same(begun.fingerprint, submission)
        return _load(begun.answer)
    async with _held(store, begun):
        submission = await read(services.objects)
        await _bind(store, begun, submission)
        accepted = await _find(services, begun, submission) or await submission.accept(begun.job_id)
        await _keep(store, begun, await at_once(accepted))  # from now on the other tries need not wait for this one
        answer = await respond(accepted)
        await _keep(store, begun, answer)
    if accepted.made_before:
        answer.headers[REPLAYED] = "true"
    return answer


async def _bind(store: IdempotencyStore, begun: Taken, submission: Submission) -> None:
    """Tie the key to this request, unless it belongs to another one or to a later try."""
    try:
        if begun.fingerprint is not None:
            _require_same(begun.fingerprint, submission)
        if not await store.step(begun, "bind", submission.fingerprint):
            raise _in_flight(store.lease_s)
    except BaseException:
        await submission.discard()
        raise


async def _find(services: Services, begun: Taken, submission: Submission) -> Accepted | None:
    """Look for the job that a try that died has made, whatever has become of its photographs since."""
    record = None if begun.fingerprint is None else await services.jobs.get(begun.job_id)
    if record is None:
        return None
    await submission.discard()
    return Accepted(record, made_before=True)


async def _keep(store: IdempotencyStore, begun: Taken, answer: Response) -> None:
    """Keep an answer. The job is accepted: where Redis fails now, the next try finds the job itself."""
    with contextlib.suppress(redis.RedisError):
        await store.step(begun, "finish", _dump(answer))


@contextlib.asynccontextmanager
async def _held(store: IdempotencyStore, begun: Taken) -> AsyncIterator[None]:
    """Keep the lease while the request is read and worked on; a failure frees the key for the next try."""
    renewal = asyncio.create_task(_renew(store, begun))
    try:
        yield
    except BaseException:
        await asyncio.shield(_release(store, begun))
        raise
    finally:
        renewal.cancel()


async def _renew(store: IdempotencyStore, begun: Taken) -> None:
    while True:
        await asyncio.sleep(store.lease_s / 3)
        with contextlib.suppress(redis.RedisError):
            if not await store.step(begun, "hold"):
                return


async def _release(store: IdempotencyStore, begun: Taken) -> None:
    with contextlib.suppress(redis.RedisError):  # then the lease runs out
        await store.step(begun, "release")


def _require_same(known: str, submission: Submission) -> None:
    if submission.fingerprint != known:
        detail = (
            "this Idempotency-Key was used for another request (photographs or wishes differ); use a new key for a new request"
        )
        raise ProblemError(422, ProblemCode.IDEMPOTENCY_KEY_REUSED, detail)


def _in_flight(seconds: float) -> ProblemError:
    retry_after = max(1, min(LONGEST_RETRY_AFTER_S, math.ceil(seconds)))
    detail = f"a request with this Idempotency-Key is still at work; try again in {retry_after} s to get its answer"
    headers = {"Retry-After": str(retry_after)}
    return ProblemError(409, ProblemCode.REQUEST_IN_FLIGHT, detail, headers=headers, retryable=True)


def _dump(answer: Response) -> str:
    body = base64.b64encode(bytes(answer.body)).decode()
    return json.dumps({"status": answer.status_code, "headers": dict(answer.headers), "body": body})


def _load(text: str) -> Response:
    kept = json.loads(text)
    return Response(base64.b64decode(kept["body"]), kept["status"], {**kept["headers"], REPLAYED: "true"})
