"""The NodeODM port beside the API, as `m3r serve --nodeodm-port` runs it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from services.adapters.job_store import JobStore
from services.adapters.objects import open_store
from services.adapters.settings import Settings
from services.api.app import create_app
from services.nodeodm.beside_api import ApiServer
from tests.services.api_stand import Api


@dataclass
class NodeOdm:
    """Both ports and the stores behind them."""

    api: Api
    port: int
    http: httpx.Client  # of the NodeODM port


@contextlib.contextmanager
def open_nodeodm(settings: Settings) -> Iterator[NodeOdm]:
    """Run both in a thread."""
    listener, nodeodm = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0), backlog=128)
    ready = threading.Event()
    server = ApiServer(create_app(settings), nodeodm, 2, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not ready.wait(0.01):
        assert thread.is_alive(), "the servers did not start"
    store = JobStore(settings)
    url, port = f"http://127.0.0.1:{listener.getsockname()[1]}", nodeodm.getsockname()[1]
    try:
        with (
            httpx.Client(base_url=url, timeout=30) as http,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as node,
        ):
            yield NodeOdm(Api(url, http, settings, store, open_store(settings)), port, node)
    finally:
        server.should_exit = True
        thread.join(20)
        for each in (listener, nodeodm):
            each.close()
        store.redis.close()


@contextlib.contextmanager
def working(settings: Settings, files: dict[str, bytes], api: Api, pause_s: float = 0.0) -> Iterator[None]:
    """Do every job that waits, as a worker would."""
    stop = threading.Event()
    store = JobStore(settings)

    def work() -> None:
        while not stop.wait(0.05):
            for job_id in store.redis.zrange(settings.key_prefix + "queued", 0, -1):
                token = store.claim(str(job_id), "tests:1")
                if token is not None and token.token is not None:
                    api.progress(token.id, token.token, 0.5)
                    time.sleep(pause_s)
                    api.commit(token.id, token.token, files)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        store.redis.close()
