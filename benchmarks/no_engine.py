# ruff: noqa: ARG001, ARG002 - it keeps to an interface and looks at nothing
"""An engine that reconstructs nothing, for measurements that need a service but no jobs."""

from __future__ import annotations

from services.adapters.settings import Settings
from services.worker.engine import EngineJob, EngineResult, OnProgress


class NoEngine:
    """Takes no memory and no time."""

    name = "none"

    def run(self, job: EngineJob, on_progress: OnProgress) -> EngineResult:
        """Refuse."""
        raise RuntimeError("this service was started to measure queries; it reconstructs nothing")


def load(settings: Settings) -> NoEngine:
    """Named by `M3R_ENGINE`."""
    return NoEngine()
