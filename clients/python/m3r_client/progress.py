"""What a caller hears while something takes long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Literal

from m3r_client.answers import Job


@dataclass(frozen=True)
class Progress:
    """How far one phase of the work is; `fraction` in [0, 1] never falls within a phase of one try."""

    phase: Literal["upload", "job", "download"]
    fraction: float
    name: str = ""  # the photograph that was just sent, the job's stage or status, the file that comes
    job: Job | None = None
    capture_id: str = ""  # to go on with when the process is killed: `reconstruct(…, resume=capture_id)`
    message: str = ""  # what a person should read: a photograph that was left out, say


OnProgress = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """Hear nothing."""


class ByteCount:
    """Counts bytes of one phase, from several threads."""

    def __init__(self, phase: Literal["upload", "download"], total: int, on_progress: OnProgress, capture_id: str = "") -> None:
        self._phase = phase
        self._total = max(total, 1)
        self._on_progress = on_progress
        self._capture_id = capture_id
        self._done = 0
        self._lock = Lock()

    def add(self, count: int, name: str, message: str = "") -> None:
        """Say that so many bytes more are done; negative when they have to come again."""
        with self._lock:
            self._done += count
            fraction = min(max(self._done / self._total, 0.0), 1.0)
            phase: Literal["upload", "download"] = self._phase
            self._on_progress(Progress(phase, fraction, name, capture_id=self._capture_id, message=message))
