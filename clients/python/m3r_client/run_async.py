"""Runs operations over an asynchronous HTTP client; parallel ones in tasks, what blocks in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeVar

import httpx

from m3r_client.run_sync import broken, lower, timeouts
from m3r_client.steps import Broken, Emit, Open, Pause, Read, Reply, Request, Step, Steps, Together, Work

T = TypeVar("T")


class AsyncRunner:
    """Performs the steps of operations."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def run(self, steps: Steps[T]) -> T:
        """Run an operation to its end and give its result."""
        results: list[T] = []
        async with aclosing(self.iterate(steps, results.append)) as emitted:
            async for _ in emitted:
                pass
        return results[0]

    async def iterate(self, steps: Steps[T], keep: Callable[[T], object] = lambda _: None) -> AsyncGenerator[Any, None]:
        """Run an operation and give what it emits; its result goes to `keep`."""
        answer: Any = None
        async with AsyncExitStack() as stack:
            stack.callback(steps.close)
            opened = await stack.enter_async_context(_Opened())
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration as end:
                    keep(end.value)
                    return
                if isinstance(step, Emit):
                    yield step.value
                    answer = None
                else:
                    answer = await self._perform(step, opened)

    async def _perform(self, step: Step, opened: _Opened) -> Any:
        if isinstance(step, Request):
            return await self._send(step)
        if isinstance(step, Open):
            return await opened.open(self._http, step.request)
        if isinstance(step, Read):
            return await opened.read()
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, Work):
            return await asyncio.to_thread(step.call)
        assert isinstance(step, Together)
        return await self._together(step)

    async def _send(self, request: Request) -> Reply | Broken:
        try:
            answer = await self._http.request(
                request.method,
                request.path,
                params=request.params or None,
                headers=dict(request.headers),
                content=request.body,
                timeout=timeouts(request),
            )
        except httpx.HTTPError as error:
            return broken(error)
        return Reply(answer.status_code, lower(answer.headers), answer.content)

    async def _together(self, step: Together) -> list[Any]:
        lanes = asyncio.Semaphore(step.at_most)

        async def run_one(make: Callable[[], Steps[Any]]) -> Any:
            async with lanes:
                return await self.run(make())

        tasks = [asyncio.ensure_future(run_one(make)) for make in step.operations]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _Opened:
    """The answer that is being read."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._chunks: AsyncIterator[bytes] | None = None

    async def open(self, http: httpx.AsyncClient, request: Request) -> Reply | Broken:
        await self._stack.aclose()
        self._chunks = None
        try:
            stream = http.stream(
                request.method,
                request.path,
                params=request.params or None,
                headers=dict(request.headers),
                timeout=timeouts(request),
                follow_redirects=True,
            )
            answer = await self._stack.enter_async_context(stream)
            body = b"" if answer.is_success else await answer.aread()
        except httpx.HTTPError as error:
            return broken(error)
        self._chunks = answer.aiter_raw() if answer.is_success else None
        return Reply(answer.status_code, lower(answer.headers), body)

    async def read(self) -> bytes | Broken | None:
        if self._chunks is None:
            return None
        try:
            return await anext(self._chunks, None)
        except httpx.HTTPError as error:
            return broken(error)

    async def __aenter__(self) -> _Opened:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
