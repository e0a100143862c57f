"""Runs operations over a blocking HTTP client; parallel ones in threads."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from threading import Event
from typing import Any, TypeVar

import httpx

from m3r_client.steps import Broken, Emit, Open, Pause, Read, Reply, Request, Step, Steps, Together, Work

T = TypeVar("T")


class _Stopped(Exception):
    """Another of several parallel operations has failed."""


class SyncRunner:
    """Performs the steps of operations."""

    def __init__(self, http: httpx.Client, stop: Event | None = None) -> None:
        self._http = http
        self._stop = stop or Event()

    def run(self, steps: Steps[T]) -> T:
        """Run an operation to its end and give its result."""
        emitted = self.iterate(steps)
        while True:
            try:
                next(emitted)
            except StopIteration as end:
                result: T = end.value
                return result

    def iterate(self, steps: Steps[T]) -> Generator[Any, None, T]:
        """Run an operation and give what it emits."""
        answer: Any = None
        with ExitStack() as stack:
            stack.callback(steps.close)
            opened = stack.enter_context(_Opened())
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration as end:
                    result: T = end.value
                    return result
                if isinstance(step, Emit):
                    yield step.value
                    answer = None
                else:
                    answer = self._perform(step, opened)

    def _perform(self, step: Step, opened: _Opened) -> Any:
        if isinstance(step, Request):
            return self._send(step)
        if isinstance(step, Open):
            return opened.open(self._http, step.request)
        if isinstance(step, Read):
            return opened.read()
        if isinstance(step, Pause):
            self._pause(step.seconds)
            return None
        if isinstance(step, Work):
            return step.call()
        assert isinstance(step, Together)
        return self._together(step)

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _Stopped

    def _send(self, request: Request) -> Reply | Broken:
        try:
            answer = self._http.request(
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

    def _together(self, step: Together) -> list[Any]:
        pool = ThreadPoolExecutor(step.at_most, thread_name_prefix="m3r-client")
        each = SyncRunner(self._http, stop := Event())
        try:
            futures = [pool.submit(_run, each, make) for make in step.operations]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()  # raises what ended it
            return [future.result() for future in futures]
        finally:
            stop.set()  # those that wait for another try need not
            pool.shutdown(cancel_futures=True)


def _run(runner: SyncRunner, make: Callable[[], Steps[Any]]) -> Any:
    return runner.run(make())


class _Opened:
    """The answer that is being read."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._chunks: Iterator[bytes] = iter(())

    def open(self, http: httpx.Client, request: Request) -> Reply | Broken:
        self._stack.close()
        self._chunks = iter(())
        try:
            stream = http.stream(
                request.method,
                request.path,
                params=request.params or None,
                headers=dict(request.headers),
                timeout=timeouts(request),
                follow_redirects=True,
            )
            answer = self._stack.enter_context(stream)
            body = b"" if answer.is_success else answer.read()
        except httpx.HTTPError as error:
            return broken(error)
        self._chunks = answer.iter_raw() if answer.is_success else iter(())
        return Reply(answer.status_code, lower(answer.headers), body)

    def read(self) -> bytes | Broken | None:
        try:
            return next(self._chunks, None)
        except httpx.HTTPError as error:
            return broken(error)

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def timeouts(request: Request) -> httpx.Timeout:
    """How long each part of a request may take."""
    return httpx.Timeout(request.silence_s, connect=10.0)


def broken(error: httpx.HTTPError) -> Broken:
    """Say what broke."""
    unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
    return Broken(f"{type(error).__name__}: {error}".rstrip(": "), sent=not unsent)


def lower(headers: httpx.Headers) -> dict[str, str]:
    """Headers by their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}
