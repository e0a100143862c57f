"""A live bar in a terminal; one line a stage where the output is a file."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class StageBar:
    """Shows the stage and the fraction of the whole job that is done."""

    def __init__(self, title: str) -> None:
        self._console = Console(stderr=True)
        self._live = self._console.is_terminal
        self._stage = ""
        self._title = title
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._live,
        )
        self._task = self._bar.add_task(title, total=1.0)

    def __enter__(self) -> StageBar:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def show(self, stage: str, fraction: float) -> None:
        """Show that the job is in `stage` and `fraction` of it is done."""
        self._bar.update(self._task, completed=fraction, description=f"{self._title}  [bold]{stage:<8}[/bold]")
        if not self._live and stage != self._stage:
            print(f"{self._title}: {stage} {fraction:.0%}", file=sys.stderr, flush=True)
        self._stage = stage
