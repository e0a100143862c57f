"""`m3r serve` and `m3r worker`: the service on one machine, every part a process that is restarted when it dies."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from services.adapters.embedded import EmbeddedRedis
    from services.adapters.settings import Settings

RESTART_AFTER_S = 1.0
STOP_WITHIN_S = 20.0


@dataclass(frozen=True)
class ServePlan:
    """What `m3r serve` was asked to start."""

    host: str
    port: int
    data: Path
    workers: int
    checkpoint: str | None
    ready_file: Path | None
    localisation: bool = True  # a resident worker for queries; not without workers
    nodeodm_port: int | None = None  # NodeODM's protocol, for clients that know host and port alone; None: not served


def run_service(plan: ServePlan) -> None:
    """Run the API in this process and the queue and the workers beside it, until a signal comes."""
    from services.adapters.settings import Settings

    # uvicorn raises the signal that ended it once more; as SystemExit it lets everything below be stopped in order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    plan.data.mkdir(parents=True, exist_ok=True)
    listener = bind_port(plan.host, plan.port)
    nodeodm = None if plan.nodeodm_port is None else bind_port(plan.host, plan.nodeodm_port)
    with contextlib.ExitStack() as stack:
        if "M3R_REDIS_URL" not in os.environ:
            os.environ["M3R_REDIS_URL"] = stack.enter_context(embedded_queue(plan.data / "queue")).url
        os.environ.setdefault("M3R_STORE", f"dir:{(plan.data / 'objects').resolve()}")
        os.environ["M3R_HOST"] = plan.host
        if plan.checkpoint:
            os.environ["M3R_CHECKPOINT"] = plan.checkpoint
        settings = Settings()
        refuse_open_bind(settings)
        stack.enter_context(supervised_workers(plan.workers, plan.localisation and plan.workers > 0))
        url = f"http://{plan.host}:{listener.getsockname()[1]}"
        typer.echo(f"m3r answers on {url}  (data in {plan.data}, {plan.workers} worker(s))", err=True)
        if nodeodm is not None:
            typer.echo(f"NodeODM's protocol on port {nodeodm.getsockname()[1]}", err=True)
        serve_api(settings, listener, lambda: announce(plan.ready_file, url), nodeodm)


@contextlib.contextmanager
def embedded_queue(folder: Path) -> Iterator[EmbeddedRedis]:
    """Run the queue's server with its data in `folder`; one line and exit 1 where it cannot start."""
    from services.adapters.embedded import EmbeddedRedis, EmbeddedRedisError

    server = EmbeddedRedis(folder)
    try:
        server.start()
    except EmbeddedRedisError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    try:
        yield server
    finally:
        server.stop()


def run_worker(localisation: bool = False) -> None:
    """Become a worker process."""
    module = "services.worker.localisation" if localisation else "services.worker"
    os.execv(sys.executable, [sys.executable, "-m", module])


def bind_port(host: str, port: int) -> socket.socket:
    """Take the port before anything else is started.

    Raises:
        typer.Exit: the port is taken or the address is not ours; the message names both remedies.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        typer.secho(
            f"error: {host}:{port} cannot be used ({error.strerror}). Try --port 0 for any free port.", fg="red", err=True
        )
        raise typer.Exit(1) from None
    listener.listen(2048)
    return listener


def refuse_open_bind(settings: Settings) -> None:
    """Refuse an address that others can reach while no key protects the service."""
    from services.api.auth import OpenBindError, check_bind

    try:
        check_bind(settings)
    except OpenBindError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


def announce(ready_file: Path | None, url: str) -> None:
    """Tell whoever waits that the service answers."""
    if ready_file is not None:
        part = ready_file.with_suffix(".part")
        part.write_text(url)
        part.replace(ready_file)


def serve_api(
    settings: Settings, listener: socket.socket, on_ready: Callable[[], None], nodeodm: socket.socket | None = None
) -> None:
    """Run the HTTP server on a socket that is already bound, and NodeODM's protocol on another."""
    from services.api.app import create_app
    from services.nodeodm.beside_api import ApiServer

    app = create_app(settings)
    gc.collect()
    gc.freeze()  # modules and routes stay for good; a collection that walks them stops every request for a tenth of a second
    ApiServer(app, nodeodm, 10, on_ready).run(sockets=[listener])


@contextlib.contextmanager
def supervised_workers(count: int, localisation: bool = False) -> Iterator[None]:
    """Keep `count` worker processes alive, and one that localises; stop them at the end."""
    stop = threading.Event()
    roles = ["worker"] * count + ["localisation"] * localisation
    threads = [threading.Thread(target=keep_alive, args=(stop, role), name=f"{role}-{n}") for n, role in enumerate(roles)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def keep_alive(stop: threading.Event, role: str = "worker") -> None:
    """Run a worker process, and another one when it ends, until told to stop."""
    command = [sys.executable, "-m", "m3r.tethered", role]
    while not stop.is_set():
        process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        while process.poll() is None and not stop.wait(0.2):
            pass
        if stop.is_set():
            end_group(process)
        else:
            typer.echo(f"{role} {process.pid} ended with {process.returncode}; starting another", err=True)
            if role == "localisation":
                forget_localisation_worker(process.pid)
            stop.wait(RESTART_AFTER_S)


def forget_localisation_worker(pid: int) -> None:
    """Say that a process takes no more queries, so that nobody waits for it until it counts as silent."""
    import redis

    from services.adapters.localisation_queue import QueryQueue
    from services.adapters.settings import Settings

    with contextlib.suppress(redis.RedisError):
        QueryQueue(Settings(), f"{socket.gethostname()}/{pid}").leave()


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and kill its whole group when it does not, or leaves children behind."""
    process.terminate()
    deadline = time.monotonic() + STOP_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
