"""`m3r submit`: photographs to a service, results back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from m3r.photos import find_photos
from m3r.progress_bar import StageBar
from m3r.service_client import ServiceClient, ServiceError


def submit_folder(place: Path, url: str, out: Path, options: str, preset: str, outputs: list[str], key: str | None) -> None:
    """Send the photographs of a folder, show the progress, download and check what comes out."""
    try:
        chosen = json.loads(options)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"--options is not JSON: {error}") from None
    client = ServiceClient(url, key)
    try:
        job = run_job(client, find_photos(place), out, chosen, preset, outputs)
    except (ServiceError, httpx.TransportError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    finally:
        client.close()
    print_job(job, out)
    if job["status"] != "succeeded":
        raise typer.Exit(1)


def run_job(
    client: ServiceClient, photos: list[Path], out: Path, options: dict[str, Any], preset: str, outputs: list[str]
) -> dict[str, Any]:
    """Run one job to its end and download its artefacts; returns the final job document."""
    with StageBar(f"{len(photos)} photographs") as bar:
        bar.show("upload", 0.0)
        job = client.submit(photos, options, preset, outputs)
        try:
            job = client.watch(job["id"], lambda document: show_job(bar, document))
        except KeyboardInterrupt:
            client.cancel(job["id"])
            raise
        if job["status"] == "succeeded":
            for artifact in client.artifacts(job["id"]):
                client.download(job["id"], artifact, out)
    return job


def show_job(bar: StageBar, job: dict[str, Any]) -> None:
    """Show a job document in the bar."""
    progress = job.get("progress")
    if job["terminal"]:
        bar.show(job["status"], 1.0 if job["status"] == "succeeded" else (progress or {}).get("fraction", 0.0))
    elif progress and job["status"] == "running":
        bar.show(progress["stage"], progress["fraction"])
    else:
        bar.show(job["status"], 0.0)


def print_job(job: dict[str, Any], out: Path) -> None:
    """Print what came of a job: registered photographs, stage times, files, warnings."""
    console = Console()
    if job["status"] != "succeeded":
        error = job.get("error") or {}
        console.print(f"[red]{job['status']}[/red] {error.get('code', '')}: {error.get('message', '')}")
        if error.get("hint"):
            console.print(error["hint"])
        return
    metrics = job["metrics"] or {}
    console.print(
        f"[green]succeeded[/green]  {metrics.get('images_used')} of {metrics.get('images_total')} photographs registered, "
        f"{metrics.get('points') or 0:,} points, {metrics.get('compute_s') or 0:.1f} s"
    )
    table = Table("stage", "seconds", box=None)
    for stage, seconds in (metrics.get("stage_seconds") or {}).items():
        table.add_row(stage, f"{seconds:.2f}")
    console.print(table)
    for file in sorted(p for p in out.iterdir() if p.is_file()):
        console.print(f"  {file}  {file.stat().st_size:,} bytes", highlight=False)
    for warning in job["warnings"]:
        console.print(f"[red]{warning}[/red]" if "meaningless" in warning else f"[yellow]{warning}[/yellow]")
