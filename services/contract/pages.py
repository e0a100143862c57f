"""What listings answer."""

from __future__ import annotations

from services.contract.jobs import Artifact, Job, Model


class JobPage(Model):
    """Jobs, newest first. `next_cursor` asks for the following page; null: this was the last."""

    items: list[Job]
    next_cursor: str | None = None


class ArtifactLink(Artifact):
    """One file of the result and where to fetch it."""

    url: str
