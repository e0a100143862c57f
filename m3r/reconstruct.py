"""`m3r reconstruct`: the engine without a service."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from m3r.photos import find_photos
from m3r.prior_files import read_priors
from m3r.progress_bar import StageBar


def reconstruct_folder(
    place: Path,
    out: Path,
    checkpoint: str | None,
    options: str,
    outputs: list[str] | None,
    device: str,
    cameras: Path | None = None,
    masks: Path | None = None,
    depths: Path | None = None,
    refine: str = "auto",
) -> None:
    """Reconstruct the photographs of a folder and write the default artefacts and `outputs` into `out`."""
    from mast3r_engine import EngineError, Options, reconstruct
    from mast3r_engine.checkpoints import load_default_network, load_network
    from mast3r_engine.export import DEFAULT_OUTPUTS, check_outputs, write_artifacts

    photos = find_photos(place)
    try:
        check_outputs(outputs or ())
        chosen = Options.from_dict({"refine": refine, **json.loads(options)})
        priors = read_priors(photos, cameras, masks, depths)
        priors.check_names([photo.name for photo in photos])  # before the weights are read
        network = load_network(checkpoint, device=device) if checkpoint else load_default_network(device=device)
        with StageBar(f"{len(photos)} photographs") as bar:
            scene = reconstruct(photos, network, chosen, on_progress=bar.show, priors=priors)
        missing: list[str] = []
        written = write_artifacts(
            scene,
            out,
            [*DEFAULT_OUTPUTS, *(outputs or ())],
            on_impossible=lambda name, error: missing.append(f"{name} was not made: {error}"),
        )
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"--options is not JSON: {error}") from None
    except EngineError as error:
        typer.secho(f"{error.code}: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    for warning in scene.warnings:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
    registered = int((scene.component >= 0).sum())
    typer.echo(f"{registered} of {len(photos)} photographs registered, {len(scene.points):,} points")
    for artifact in written:
        typer.echo(f"  {out / artifact.name}  {artifact.bytes:,} bytes")
    for reason in missing:
        typer.secho(reason, fg="red", err=True)
    if missing:
        raise typer.Exit(1)
