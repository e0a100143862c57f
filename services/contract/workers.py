"""What a worker says of itself, for health answers and autoscalers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from services.contract.jobs import Model


class WorkerStatus(Model):
    """One worker process, as last heard."""

    name: str  # host and process
    host: str
    pid: int
    kind: Literal["reconstruction", "localisation"] = "reconstruction"
    weights_loaded: bool
    engine: str | None = None  # None until it is loaded
    job: str | None = None
    started_at: datetime
    last_seen: datetime
