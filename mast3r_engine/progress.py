"""Progress of a job: stages, and a fraction that never falls."""

from __future__ import annotations

from collections.abc import Callable

STAGES = ("load", "encode", "pair", "decode", "match", "align", "fuse", "export")

OnProgress = Callable[[str, float], None]  # (stage, fraction of the whole job in [0, 1]); may raise to cancel


class Progress:
    """Turns progress within stages into one fraction of the whole job.

    `shares` says how much of the whole each stage is expected to take; stages may interleave (decode and match do).
    """

    def __init__(self, on_progress: OnProgress | None, shares: dict[str, float]) -> None:
        unknown = set(shares) - set(STAGES)
        if unknown:
            raise ValueError(f"unknown stages {sorted(unknown)}; known: {STAGES}")
        total = sum(shares.values())
        self._on_progress = on_progress
        self._shares = {stage: share / total for stage, share in shares.items()}
        self._done = dict.fromkeys(shares, 0.0)
        self._fraction = 0.0

    def report(self, stage: str, done: float) -> None:
        """Say that `done` in [0, 1] of a stage is finished."""
        self._done[stage] = max(self._done[stage], min(done, 1.0))
        self._fraction = max(self._fraction, min(1.0, sum(self._shares[s] * d for s, d in self._done.items())))
        if self._on_progress is not None:
            self._on_progress(stage, self._fraction)

    def finish(self, stage: str) -> None:
        """Say that the whole job is finished: the fraction is exactly 1."""
        self._done = dict.fromkeys(self._done, 1.0)
        self._fraction = 1.0
        if self._on_progress is not None:
            self._on_progress(stage, 1.0)
