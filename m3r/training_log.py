"""What a training tells: JSON lines, a live line with the last validation, TensorBoard."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import TracebackType
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from m3r.gpu_busy import GpuBusy
from mast3r_engine.training.loop import Report, StepReport, ValidationReport
from mast3r_engine.training.validation import MATCH_SHARES, Validation

LOG_FILE = "log.jsonl"
LOG_EVERY = 10  # steps


class TrainingLog:
    """Takes the reports of the process that speaks; a bar in a terminal, a line every ten steps in a file."""

    def __init__(self, out: Path, tensorboard: bool, busy: GpuBusy | None = None, console: Console | None = None) -> None:
        self._file = (out / LOG_FILE).open("a")
        self._board = open_board(out) if tensorboard else None
        self._busy, self._console = busy, console or Console()
        self._live = self._console.is_terminal
        self._last = ""  # what the last validation said
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=self._console, disable=not self._live)
        self._task = self._bar.add_task("training", total=1.0)

    def __enter__(self) -> TrainingLog:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()
        self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, report: Report) -> None:
        """Take one report."""
        if isinstance(report, StepReport):
            self._write_step(report)
        else:
            self._write_validation(report)

    def _write_step(self, report: StepReport) -> None:
        busy = self._busy.share if self._busy else None
        values = {**dataclasses.asdict(report), "gpu_busy": busy}
        line = describe_step(report, busy)
        self._bar.update(self._task, completed=report.progress, description=f"{line}  {self._last}".rstrip())
        if report.position.total_steps % LOG_EVERY == 0:
            self._append("step", values)
            if not self._live:
                typer.echo(f"{report.progress:5.1%}  {line}  {self._last}".rstrip())
        self._chart("train", values, report.position.total_steps)

    def _write_validation(self, report: ValidationReport) -> None:
        self._append("validation", dataclasses.asdict(report))
        self._last = f"[{describe_validation(report.figures)}]"
        self._console.print(
            f"{report.stage} step {report.position.step}: {self._last[1:-1]}", markup=False, highlight=False, soft_wrap=True
        )
        self._chart("validation", chart_values(report.figures), report.position.total_steps)

    def _append(self, kind: str, values: dict[str, Any]) -> None:
        self._file.write(json.dumps({"kind": kind, **values}) + "\n")
        self._file.flush()

    def _chart(self, group: str, values: dict[str, Any], step: int) -> None:
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{group}/{name}", value, step)


def open_board(out: Path) -> Any:
    """TensorBoard's writer; TrainingError if the package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        from mast3r_engine.errors import TrainingError

        raise TrainingError("--tensorboard needs the tensorboard package; pip install tensorboard") from error
    return SummaryWriter(str(out / "tensorboard"))


def describe_step(report: StepReport, busy: float | None) -> str:
    """One line."""
    gpu = "" if busy is None else f", GPU {busy:.0%} busy"
    return (
        f"{report.stage} step {report.position.step}  {report.pairs_per_second:.1f} pairs/s "
        f"({report.render_share:.0%} waiting for data{gpu})  loss {report.loss:.4f}  points {report.points:.4f}  "
        f"matching {report.matching:.3f}  gradient {report.gradient:.2f}  lr {report.lr:.2e}"
    )


def describe_validation(figures: Validation) -> str:
    """Held-out figures in a few words."""
    parts = []
    if figures.match_within is not None:
        parts.append("matches " + " / ".join(f"{share:.1%}" for share in figures.match_within))
    if figures.point_error is not None and figures.plateau is not None:
        parts.append(f"points off {figures.point_error:.1%} (blind {figures.plateau:.1%})")
    if figures.scale_error is not None:
        parts.append(f"scale {figures.scale_error:.2f}")
    return "held out: " + (", ".join(parts) or "nothing measured")


def chart_values(figures: Validation) -> dict[str, Any]:
    """The figures with one name for each number."""
    values = dataclasses.asdict(figures)
    within = values.pop("match_within")
    if within is not None:
        values.update(
            {f"match_within_{100 * share:.0f}_percent": found for share, found in zip(MATCH_SHARES, within, strict=True)}
        )
    return values
