"""`m3r convert-colmap`: a COLMAP model with depth maps as a folder to train on."""

from __future__ import annotations

from pathlib import Path

import typer


def convert(model: Path, photographs: Path, depth: Path, out: Path, depth_scale: float, metric: bool) -> None:
    """Convert and say what was left out."""
    from mast3r_engine.errors import EngineError
    from mast3r_engine.training.captures.from_colmap import ColmapFolders, convert_colmap

    try:
        found = convert_colmap(ColmapFolders(model, photographs, depth), out, depth_scale, metric)
    except EngineError as error:
        typer.secho(f"m3r convert-colmap: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    for reason, times in found.skipped.most_common():
        typer.echo(f"skipped {times} x {reason}", err=True)
    typer.echo(f"{out}: {found.frames} frames; train with --data NAME={out}")
