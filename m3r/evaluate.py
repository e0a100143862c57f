"""`m3r eval mapfree`: localise a benchmark, write its submission, print its table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from mast3r_engine.evaluation.mapfree_metrics import MapfreeScores
    from mast3r_engine.localisation import Localization


def evaluate_mapfree(
    root: Path, split: str | None, out: Path, checkpoint: str | None, device: str, submission: Path | None
) -> None:
    """Localise all queries of a map-free folder (or take a finished submission), and print the scores where poses are known."""
    from mast3r_engine.checkpoints import load_default_network, load_network
    from mast3r_engine.errors import EngineError
    from mast3r_engine.evaluation.mapfree_dataset import read_scenes
    from mast3r_engine.evaluation.mapfree_metrics import score_submission
    from mast3r_engine.evaluation.mapfree_run import localize_scenes
    from mast3r_engine.evaluation.mapfree_submission import read_submission, write_submission

    tally = _Tally()
    try:
        scenes = read_scenes(root, split)
        if submission is None:
            network = load_network(checkpoint, device=device) if checkpoint else load_default_network(device=device)
            write_submission(localize_scenes(scenes, network, on_frame=tally.count), out)
            submission = out
        estimates = read_submission(submission)
        known = [scene for scene in scenes if scene.cam2world]
        scores = score_submission(known, estimates) if known else None
    except EngineError as error:
        typer.secho(f"{error.code}: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    tally.print()
    typer.echo(f"{submission}: {sum(map(len, estimates.values()))} poses of {len(estimates)} scenes")
    if scores is None:
        typer.echo("This split's poses are withheld: upload the zip to the benchmark's site for its scores.")
    else:
        _print_scores(scores)


class _Tally:
    """Counts why frames were not localised."""

    def __init__(self) -> None:
        self._reasons: Counter[str] = Counter()

    def count(self, _scene: str, _frame: str, answer: Localization) -> None:
        self._reasons[answer.reason or "localized"] += 1

    def print(self) -> None:
        for reason, count in self._reasons.most_common():
            typer.echo(f"{count:6d} frames {reason}")


def _print_scores(scores: MapfreeScores) -> None:
    table = Table(title=f"Map-free relocalisation, {scores.frames} frames, {scores.failures} without an estimate")
    for heading in ("", "median error", "precision", "AUC"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row("VCRE < 90 px", f"{scores.median_vcre:.1f} px", f"{scores.vcre_precision:.1%}", f"{scores.vcre_auc:.3f}")
    table.add_row(
        "pose < 0.25 m, 5°",
        f"{scores.median_translation:.3f} m, {scores.median_rotation:.2f}°",
        f"{scores.pose_precision:.1%}",
        f"{scores.pose_auc:.3f}",
    )
    Console().print(table)
    typer.echo("Medians: mean over scenes of each scene's median over submitted frames. Precision: of all frames.")
