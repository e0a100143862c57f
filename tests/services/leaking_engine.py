"""The fake engine with a leak: the check of memory must catch it."""

from __future__ import annotations

import os

from services.adapters.settings import Settings
from services.worker.engine import EngineJob, EngineResult, OnProgress
from tests.services.fake_engine import FakeEngine

LEAK_BYTES = 256 * 1024  # of each job


class LeakingEngine(FakeEngine):
    """Keeps something of every job."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[bytes] = []

    def run(self, job: EngineJob, on_progress: OnProgress) -> EngineResult:
        self._kept.append(os.urandom(LEAK_BYTES))
        return super().run(job, on_progress)


def load(settings: Settings) -> LeakingEngine:
    """Named by `M3R_ENGINE`."""
    return LeakingEngine()
