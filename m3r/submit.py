"""`m3r submit`: photographs to a service, results back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from m3r.known_files import KnownFiles
from m3r.photos import find_photos
from m3r.progress_bar import StageBar
from m3r_client import Client, Job, M3rError, Metrics, Progress, RetryPolicy, Wishes

NOTHING = KnownFiles()


def submit_folder(
    place: Path,
    url: str,
    out: Path,
    options: str,
    preset: str,
    outputs: list[str],
    key: str | None,
    resume: str | None = None,
    known: KnownFiles = NOTHING,
) -> None:
    """Send the photographs of a folder, show the progress, download and check what comes out."""
    try:
        chosen = json.loads(options)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"--options is not JSON: {error}") from None
    try:
        require_service(url, key)
        with Client(url, key) as client:
            job = run_job(client, find_photos(place), out, chosen, preset, outputs, resume, known)
    except (M3rError, ValueError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    print_job(job, out)
    if not job.succeeded:
        raise typer.Exit(1)


def require_service(url: str, key: str | None) -> None:
    """Find out soon that nothing answers there, or that the key is wrong; raises M3rError."""
    with Client(url, key, retry=RetryPolicy(patience_s=4.0)) as client:
        client.info()


def run_job(
    client: Client,
    photos: list[Path],
    out: Path,
    options: dict[str, Any],
    preset: str,
    outputs: list[str],
    resume: str | None = None,
    known: KnownFiles = NOTHING,
) -> Job:
    """Run one job to its end and download its artefacts; gives the job as it ended.

    Args:
        resume: a capture that was begun before; what it has is not sent again.
        known: what is known of the photographs beforehand.
    """
    wishes = Wishes(preset, options, outputs)
    with StageBar(f"{len(photos)} photographs") as bar:
        bar.show("upload", 0.0)
        depths = known.depth_maps()
        capture = client.upload(
            photos, cameras=known.cameras, masks=known.masks, depths=depths, resume=resume, on_progress=uploads_in(bar)
        )
        job = client.submit(capture.id, wishes, idempotency_key=wishes.key_for(capture))
        try:
            job = client.wait(job.id, on_progress=lambda progress: bar.show(progress.name, progress.fraction))
        except KeyboardInterrupt:
            client.cancel(job.id)
            raise
        if job.succeeded:
            client.download(job.id, out)
    return job


def uploads_in(bar: StageBar) -> Callable[[Progress], None]:
    """Show uploads in the bar, and how to go on with them when they are broken off."""
    told = False

    def show(progress: Progress) -> None:
        nonlocal told
        if not told:
            typer.echo(f"capture {progress.capture_id} (--resume goes on with it)", err=True)
            told = True
        if progress.message:
            typer.secho(progress.message, fg="yellow", err=True)
        bar.show("upload", progress.fraction)

    return show


def print_job(job: Job, out: Path) -> None:
    """Print what came of a job: registered photographs, stage times, files, warnings."""
    console = Console()
    if not job.succeeded:
        console.print(f"[red]{job.status}[/red] {job.error.code if job.error else ''}: {job.error.message if job.error else ''}")
        if job.error and job.error.hint:
            console.print(job.error.hint)
        return
    metrics = job.metrics or Metrics()
    console.print(
        f"[green]succeeded[/green]  {metrics.images_used} of {metrics.images_total} photographs registered, "
        f"{metrics.points or 0:,} points, {metrics.compute_s or 0:.1f} s"
    )
    table = Table("stage", "seconds", box=None)
    for stage, seconds in metrics.stage_seconds.items():
        table.add_row(stage, f"{seconds:.2f}")
    console.print(table)
    for file in sorted(p for p in out.iterdir() if p.is_file()):
        console.print(f"  {file}  {file.stat().st_size:,} bytes", highlight=False)
    for warning in job.warnings:
        console.print(f"[red]{warning}[/red]" if "meaningless" in warning else f"[yellow]{warning}[/yellow]")
