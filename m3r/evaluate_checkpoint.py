"""`m3r eval reconstruction` and `m3r eval synthetic`: what a checkpoint is worth, as tables."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from mast3r_engine.evaluation.checkpoint import SceneScores
    from mast3r_engine.evaluation.posed_photos import PosedScene

SYNTHETIC_SEED = 31_337


def evaluate_reconstruction(
    root: Path, checkpoint: str | None, device: str, options: str, refined: bool, with_sift: bool, report: Path | None
) -> None:
    """Reconstruct every scene with known cameras below `root` and print how far the result is from them.

    With `refined` every scene is reconstructed twice, without bundle adjustment and with it, whatever the options say.
    """
    from mast3r_engine.checkpoints import load_default_network, load_network
    from mast3r_engine.errors import EngineError
    from mast3r_engine.evaluation.checkpoint import score_poses, score_scene
    from mast3r_engine.evaluation.posed_photos import read_posed_scenes
    from mast3r_engine.evaluation.sift_baseline import map_with_sift
    from mast3r_engine.options import Options

    try:
        net = load_network(checkpoint, device=device) if checkpoint else load_default_network(device=device)
        settings = Options.from_dict(json.loads(options))
        scenes = read_posed_scenes(root)
        variants = {"network": settings}
        if refined:
            variants = {
                "network alone": dataclasses.replace(settings, refine="none"),
                "network, bundle": dataclasses.replace(settings, refine="bundle"),
            }
        methods: list[tuple[str, Callable[[PosedScene], SceneScores]]] = [
            (name, partial(score_scene, net=net, options=variant)) for name, variant in variants.items()
        ]
        if with_sift:
            methods.append(("SIFT + pycolmap", lambda s: score_poses(s, map_with_sift(s))))
        rows = [(name, score(scene)) for scene in scenes for name, score in methods]
    except (EngineError, ValueError) as error:
        typer.secho(f"m3r eval reconstruction: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    _print_scenes(rows)
    if report is not None:
        report.write_text(json.dumps([{"method": name, **dataclasses.asdict(scores)} for name, scores in rows], indent=2))


def evaluate_synthetic(checkpoint: str | None, textures: Path | None, device: str, pairs: int, size: int | None) -> None:
    """Matching precision, point error and calibration on rendered scenes with held-out textures, by the cameras' distance."""
    import torch

    from mast3r_engine.checkpoints import load_default_network, load_network
    from mast3r_engine.errors import EngineError
    from mast3r_engine.training.stage_data import load_split
    from mast3r_engine.training.synthetic.cameras import CameraRanges
    from mast3r_engine.training.synthetic.source import SyntheticOptions, SyntheticSource
    from mast3r_engine.training.validation import validate

    try:
        net = load_network(checkpoint, device=device) if checkpoint else load_default_network(device=device)
        photos, _ = load_split(textures, "validation")
    except EngineError as error:
        typer.secho(f"m3r eval synthetic: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    width = size or net.image_size
    height = width * 3 // 4 // net.patch_size * net.patch_size
    table = Table(title=f"{pairs} rendered pairs each, {width} x {height} pixels, held-out textures")
    headings = (
        "degrees apart", "matches within 1 %", "2 %", "5 % of the width", "point error", "first", "second", "ignoring the images",
        "scale |ln|", "sure / unsure error",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="right")
    for low, high in ((0.0, 15.0), (15.0, 40.0), (40.0, 80.0)):
        options = SyntheticOptions(
            height=height, width=width, matches=64, cameras=CameraRanges(fov=(30, 100), angle=(low, high)), shadows=True
        )
        batch = SyntheticSource(photos.to(torch.device(device)), options).draw(pairs, SYNTHETIC_SEED, 0)
        figures = validate(net, batch)
        values = [
            *(figures.match_within or (None,) * 3),
            figures.point_error,
            figures.point_error_first,
            figures.point_error_second,
        ]
        shares = [_percent(value) for value in [*values, figures.plateau]]
        table.add_row(f"{low:.0f}-{high:.0f}", *shares, _plain(figures.scale_error), _plain(figures.calibration))
    Console(width=160).print(table)


def _print_scenes(rows: list[tuple[str, SceneScores]]) -> None:
    title = "Cameras and depth against the truth; pairs with an unregistered photograph count as wrong"
    table = Table(title=title, caption="wide pairs: 30° apart or more; right within 15° in rotation and direction of translation")
    headings = (
        "scene", "method", "registered", "RRA 5/15/30", "RTA 5/15/30", "mean rotation", "ATE % extent", "focal |ln|",
        "scale |ln|", "depth", "wide pairs", "failure",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("scene", "method", "failure") else "right")
    for name, s in rows:
        table.add_row(
            s.scene, name, f"{s.registered}/{s.photos}", _shares(s.rra), _shares(s.rta), f"{s.mean_rotation:.2f}°",
            f"{s.ate_percent:.2f}", _plain(s.focal), _plain(s.scale), _percent(s.depth), f"{s.wide_right}/{s.wide}", s.failure,
        )  # fmt: skip
    Console(width=180).print(table)


def _shares(values: tuple[float, float, float]) -> str:
    return " / ".join(f"{100 * value:.0f}" for value in values)


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def _plain(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"
