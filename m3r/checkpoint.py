"""`m3r checkpoint info`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table


def print_checkpoint(file: Path) -> None:
    """Print what a checkpoint is; a bad one ends with one line that says why."""
    from mast3r_engine.checkpoints import describe_checkpoint
    from mast3r_engine.errors import CheckpointError

    try:
        description = describe_checkpoint(file)
    except CheckpointError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    table = Table(show_header=False, box=None)
    for name, value in dataclasses.asdict(description).items():
        table.add_row(f"[bold]{name}[/bold]", str(value))
    Console().print(table)
