"""Serves this protocol beside the API, in its process and event loop: begun once the API answers, ended before it stops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from services.api.http_connection import BoundedConnection
from services.nodeodm.app import create_nodeodm_app


class NodeOdmServer(uvicorn.Server):
    """A second server; signals are the first one's business."""

    def __init__(self, api: FastAPI, listener: socket.socket) -> None:
        app = create_nodeodm_app(api)
        super().__init__(uvicorn.Config(app, http=BoundedConnection, log_config=None, timeout_graceful_shutdown=5))
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def begin(self) -> None:
        """Answer from now on."""
        self._task = asyncio.create_task(self.serve(sockets=[self._listener]), name="nodeodm")
        while not self.started and not self._task.done():
            await asyncio.sleep(0.01)
        if self._task.done():
            await self._task  # raises what kept it from starting

    async def end(self) -> None:
        """Let running requests end, within bounds, and answer no more."""
        self.should_exit = True
        if self._task is not None:
            await self._task


class ApiServer(uvicorn.Server):
    """The API's server; the other one, if any, lives within its life."""

    def __init__(self, api: FastAPI, nodeodm: socket.socket | None, grace_s: int, on_ready: Callable[[], None]) -> None:
        """Listen on nothing yet.

        Args:
            nodeodm: where NodeODM's protocol is served, bound already; None: not at all.
            grace_s: how long requests may take to end once it is told to.
            on_ready: called when everything answers.
        """
        super().__init__(uvicorn.Config(api, http=BoundedConnection, log_config=None, timeout_graceful_shutdown=grace_s))
        self._beside = None if nodeodm is None else NodeOdmServer(api, nodeodm)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._beside is not None and self.started:
            await self._beside.begin()
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._beside is not None:
            await self._beside.end()
        await super().shutdown(sockets)
