"""What happens to a job, as a stream: clients replay it with the last id they have seen."""

from __future__ import annotations

from typing import Any, Literal

from services.contract.jobs import Model


class JobEvent(Model):
    """One entry of a job's event stream; ids rise ("milliseconds-sequence")."""

    id: str
    event: Literal["status", "progress"]
    data: dict[str, Any]
