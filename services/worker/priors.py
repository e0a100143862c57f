"""What is known beforehand of a job's photographs, fetched as it was when the job was made. Importing this loads no torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.contract.jobs import JobRecord
from services.contract.keys import capture_prior
from services.worker.engine import PriorFiles

Fetch = Callable[[str, str, Path], None]  # key, SHA-256 in hex, where to


def fetch_priors(record: JobRecord, folder: Path, fetch: Fetch) -> PriorFiles:
    """Bring the files into `folder`; raises what `fetch` raises."""
    cameras: dict[str, Any] = {}
    images: dict[str, dict[str, Path]] = {"mask": {}, "depth": {}}
    for prior in record.priors:
        path = folder / prior.kind / (f"{prior.name}.png" if prior.name else "cameras.json")
        fetch(capture_prior(record.capture_id, prior.id), prior.sha256, path)
        if prior.kind == "cameras":
            cameras = json.loads(path.read_text(encoding="utf-8"))
        else:
            images[prior.kind][prior.name] = path
    return PriorFiles(cameras, masks=images["mask"], depths=images["depth"])
