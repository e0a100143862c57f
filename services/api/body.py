"""A request's body on its way in: what can be known of it before, and its bytes as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request

from services.adapters.settings import Settings
from services.api.photo_intake import PhotoStore
from services.api.problems import ProblemError
from services.contract.codes import ProblemCode

SILENCE_S = 60.0  # a client that sends nothing for so long is gone
INTAKE_RESERVE = 2  # times what the store keeps free: results of jobs that were accepted must find room when uploads do not


def declared_length(request: Request) -> int:
    """The body's length as its header says; 0 when it does not."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() else 0


def require_room(objects: PhotoStore, settings: Settings, length: int) -> None:
    """Refuse what would leave the store too little room. Blocks.

    Raises:
        ProblemError: insufficient_storage (507).
        ObjectStoreError: the store cannot be written.
    """
    objects.check()
    free = objects.free_bytes()
    if free is not None and free - length < INTAKE_RESERVE * settings.min_free_disk_bytes:
        detail = "the store has no room for this submission; try again when older jobs have been deleted"
        raise ProblemError(507, ProblemCode.INSUFFICIENT_STORAGE, detail, retryable=True)


async def body_chunks(request: Request) -> AsyncIterator[bytes]:
    """Give a body's bytes as they come; raises ProblemError 408 when they stop coming."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(SILENCE_S):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            detail = f"nothing of the body came for {SILENCE_S:g} seconds; nothing was kept"
            raise ProblemError(408, ProblemCode.INCOMPLETE_BODY, detail, retryable=True) from None
        if chunk:
            yield chunk
