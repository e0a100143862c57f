"""The API and a real localisation worker process with the fake engine."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from services.adapters.settings import Settings
from services.adapters.worker_registry import WorkerRegistry
from tests.services.api_stand import Api, open_api
from tests.services.fake_localisation import photo_that
from tests.services.service_stand import WorkerProcess, wait_for

FAKE = "tests.services.fake_localisation:load"
POSE = [[1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]


class Localising:
    """What the tests of localisation work with."""

    def __init__(self, api: Api, settings: Settings, folder: Path) -> None:
        self.api = api
        self.http = api.http
        self.settings = settings
        self.folder = folder
        self.workers: list[WorkerProcess] = []

    def start_worker(self, wait: bool = True, **changes: Any) -> WorkerProcess:
        """Start a localisation worker and wait until it takes queries."""
        settings = self.settings.model_copy(update=changes)
        worker = WorkerProcess(settings, self.folder / f"localisation-{len(self.workers)}.log", "services.worker.localisation")
        self.workers.append(worker)
        if wait:
            registry = WorkerRegistry(settings)
            try:
                wait_for(lambda: any(w.pid == worker.pid and w.weights_loaded for w in registry.workers()), 40, "a worker")
            except AssertionError as error:
                raise AssertionError(f"{error}\n{worker.tail()}") from None
        return worker

    def keep(self, data: bytes | None = None, **facts: Any) -> str:
        """Keep a reference; gives its id."""
        files = {"image": ("a.jpg", data or photo_that(""))}
        answer = self.http.post("/v1/references", files=files, data={"reference": json.dumps(facts)} if facts else {})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def ask(
        self, image: bytes | None = None, sent: tuple[bytes, ...] = (), path: str = "/v1/localize", **query: Any
    ) -> httpx.Response:
        """Localise a photograph."""
        files = [("image", ("q.jpg", photo_that("") if image is None else image))]
        files += [("references", (f"r{n}.jpg", data)) for n, data in enumerate(sent)]
        return self.http.post(path, files=files, data={"query": json.dumps(query)} if query else {})

    def freeze(self, poses: dict[str, Any] | None = None, wait: bool = True) -> dict[str, Any]:
        """Do a job as its worker would and freeze it."""
        job_id = self.api.new_job()["id"]
        self.api.finish(job_id, {"poses.json": json.dumps(poses or {}).encode(), "scene.ply": b"ply"})
        answer = self.http.post("/v1/maps", json={"job_id": job_id})
        assert answer.status_code == 202, answer.text
        assert answer.json()["status"] == "building"
        return self.wait_built(answer.json()["id"]) if wait else dict(answer.json())

    def wait_built(self, map_id: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """Wait until a map is ready or failed."""

        def built() -> dict[str, Any] | None:
            shown = dict(self.http.get(f"/v1/maps/{map_id}").json())
            return None if shown["status"] == "building" else shown

        return wait_for(built, timeout_s, "the map's end")

    def close(self) -> None:
        """End every worker."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.resume()
                worker.kill()


@contextlib.contextmanager
def open_localising(settings: Settings, folder: Path, start: bool = True, **changes: Any) -> Iterator[Localising]:
    """Run the API, and a worker unless it shall wait."""
    values = {"localisation_engine": FAKE, **changes}
    chosen = settings.model_copy(update=values)
    with open_api(chosen) as api:
        made = Localising(api, chosen, folder)
        try:
            if start:
                made.start_worker()
            yield made
        finally:
            made.close()
