"""Time and progress of a job's stages."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mast3r_engine.progress import STAGES, OnProgress, Progress


class StageClock:
    """Adds up the seconds of each stage and reports progress; stages may be entered again and again.

    The shares follow what each stage was measured to take on a CPU, in units of one encoded image.
    """

    def __init__(self, on_progress: OnProgress | None, images: int, pairs: int) -> None:
        shares = {
            "load": 0.05 * images,
            "encode": 1.0 * images,
            "pair": 0.01,
            "decode": 4.0 * max(pairs, 1),
            "match": 0.8 * pairs + 0.01,
            "align": 0.05 * pairs + 0.3,
            "fuse": 0.05 * images + 0.1,
            "export": 0.01,
        }
        self._progress = Progress(on_progress, shares)
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[float], None]]:
        """Time a block; gives the function that reports how much of the stage is done, and reports that it began."""
        began = time.perf_counter()
        try:
            self._progress.report(name, 0.0)
            yield lambda done: self._progress.report(name, done)
        finally:
            self.seconds[name] += time.perf_counter() - began

    def finish(self) -> None:
        """Report that the whole job is done."""
        self._progress.finish("export")


def peak_memory() -> int:
    """Largest resident set of this process so far, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
