"""`make demo`: real photographs through the real chain, HTTP upload to point cloud, and everything stopped again."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.console import Console

from m3r.photos import find_photos
from m3r.submit import print_job, run_job
from m3r_client import Client, M3rError

START_WITHIN_S = 90.0
TRUST_EVERYTHING = {"alignment": {"verify_pairs": False}, "fusion": {"min_confidence": 0.0}}
NOTHING_HOLDS = (
    "With these weights no pair of photographs holds (no_overlap). Sent again with alignment.verify_pairs = false, to show the "
    "whole way of the data: THE GEOMETRY BELOW IS MEANINGLESS. See README, Weights."
)


def run_demo(place: Path, out: Path) -> None:
    """Run the demonstration and say how long each part took."""
    console = Console()
    photos = find_photos(place)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="m3r-demo-") as folder, running_service(Path(folder)) as url:
        console.print(f"service up on {url} after {time.monotonic() - began:.1f} s (API, Valkey queue, worker, object store)")
        clear_results(out)
        try:
            with Client(url) as client:
                job = run_job(client, photos, out, {}, "balanced", [])
                if job.error and job.error.code == "no_overlap":
                    console.print(f"[red]{NOTHING_HOLDS}[/red]")
                    job = run_job(client, photos, out, TRUST_EVERYTHING, "balanced", [])
        except M3rError as error:
            typer.secho(f"error: {error}", fg="red", err=True)
            raise typer.Exit(1) from None
    print_job(job, out)
    console.print(f"all stopped; {time.monotonic() - began:.1f} s in all. Look at {out / 'preview.png'}")
    if not job.succeeded:
        raise typer.Exit(1)


def clear_results(out: Path) -> None:
    """Remove the results of an earlier run, so that nothing old can be taken for new."""
    for name in ("scene.ply", "poses.json", "preview.png"):
        (out / name).unlink(missing_ok=True)


@contextlib.contextmanager
def running_service(folder: Path) -> Iterator[str]:
    """Start `m3r serve` on a free port and yield its URL; stop it and its children at the end.

    Raises:
        typer.Exit: it did not start; the end of its log is shown.
    """
    ready, log = folder / "url", folder / "serve.log"
    command = [sys.executable, "-m", "m3r", "serve", "--port", "0", "--data", str(folder / "data"), "--ready-file", str(ready)]
    command.append("--no-localisation")  # the demonstration asks no queries; one set of weights is enough
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True)
    try:
        yield wait_ready(process, ready, log)
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        if process.poll() is None:
            process.kill()
        keep_log(process, log)


def wait_ready(process: subprocess.Popen[bytes], ready: Path, log: Path) -> str:
    """Wait until the service has said where it answers."""
    deadline = time.monotonic() + START_WITHIN_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            typer.secho(f"the service did not start:\n{log.read_text(errors='replace')[-3000:]}", fg="red", err=True)
            raise typer.Exit(1)
        time.sleep(0.1)
    return ready.read_text()


def keep_log(process: subprocess.Popen[bytes], log: Path) -> None:
    """Keep the log where it can be read when the service ended badly."""
    if process.returncode not in (0, -signal.SIGTERM):
        kept = Path(tempfile.gettempdir()) / "m3r-demo-serve.log"
        shutil.copy(log, kept)
        typer.secho(f"the service ended with {process.returncode}; its log is {kept}", fg="yellow", err=True)
