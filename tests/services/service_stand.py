"""A stand for tests of the services: stores, queue, and worker processes that can be stopped, paused and killed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import psutil
from PIL import Image

from services.adapters.embedded import EmbeddedRedis
from services.adapters.job_documents import JobDocuments
from services.adapters.job_store import JobStore
from services.adapters.objects import open_store
from services.adapters.queue import JobQueue
from services.adapters.settings import Settings, to_environment
from services.adapters.submission import submit_job
from services.adapters.worker_registry import WorkerRegistry
from services.contract.ids import new_id
from services.contract.jobs import ImageInput, JobRecord
from services.contract.keys import capture_image

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]


def wait_for(condition: Callable[[], T], timeout_s: float = 20.0, what: str = "the condition") -> T:
    """Ask again and again until the answer is true; fail when it is not in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {timeout_s} s; last answer: {answer!r}")
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Say whether a process has ended; one that is only waited for has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class WorkerProcess:
    """A real worker: `python -m services.worker` and its child."""

    def __init__(self, settings: Settings, log: Path, module: str = "services.worker") -> None:
        self.log = log
        environment = {**os.environ, **to_environment(settings), "OMP_NUM_THREADS": "1"}
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module], cwd=ROOT, env=environment, stdout=file, stderr=file, process_group=0
            )
        self.pid = self.process.pid

    def everyone(self) -> list[int]:
        """The worker and all its children."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self.pid, *(child.pid for child in psutil.Process(self.pid).children(recursive=True))]
        return []

    def signal_all(self, number: int) -> None:
        """Send a signal to the worker and its children."""
        for pid in self.everyone():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def pause(self) -> None:
        """Stop all of it, as a machine that freezes."""
        self.signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.signal_all(signal.SIGCONT)

    def kill(self) -> None:
        """Kill all of it at once, as a machine that loses power."""
        self.signal_all(signal.SIGKILL)
        self.process.wait(20)

    def stop(self, timeout_s: float = 30.0) -> int:
        """Ask it to end, and say how it ended."""
        self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the worker did not end within {timeout_s} s of SIGTERM\n{self.tail()}") from None

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4000:]


class Stand:
    """What API and operator have, without HTTP."""

    def __init__(self, settings: Settings, folder: Path, server: EmbeddedRedis | None = None) -> None:
        self.settings = settings
        self.folder = folder
        self.server = server
        self.store = JobStore(settings)
        self.objects = open_store(settings)
        self.queue = JobQueue(settings)
        self.documents = JobDocuments(self.store, self.objects)
        self.registry = WorkerRegistry(settings)
        self.workers: list[WorkerProcess] = []

    def start_worker(self, module: str = "services.worker", wait: bool = True) -> WorkerProcess:
        """Start a worker and wait until it says that its engine is loaded."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        worker = WorkerProcess(self.settings, log, module)
        self.workers.append(worker)
        if not wait:
            return worker
        try:
            wait_for(
                lambda: any(w.pid == worker.pid and w.weights_loaded for w in self.registry.workers()), 40, "a loaded worker"
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{worker.tail()}") from None
        return worker

    def submit(self, photos: int = 2, fake: dict[str, Any] | None = None, **changes: Any) -> JobRecord:
        """Upload photographs and submit a job; `fake` tells the fake engine what to do."""
        record = make_record(self.settings, photos, fake, **changes)
        for image in record.images:
            self.objects.put(capture_image(record.capture_id, image.name), tiny_jpeg(), image.media_type)
        submit_job(record, self.store, self.documents, self.queue)
        return record

    def job(self, record: JobRecord) -> JobRecord:
        """Read a job."""
        return self.store.require(record.id)

    def wait_terminal(self, record: JobRecord, timeout_s: float = 30.0) -> JobRecord:
        """Wait until a job has ended."""
        try:
            return wait_for(lambda: current if (current := self.job(record)).terminal else None, timeout_s, "the job's end")
        except AssertionError as error:
            logs = "\n".join(worker.tail() for worker in self.workers)
            raise AssertionError(f"{error}\n{self.job(record)}\n{logs}") from None

    def wait_stage(self, record: JobRecord, stage: str, timeout_s: float = 20.0) -> JobRecord:
        """Wait until a job is in a stage."""

        def there() -> JobRecord | None:
            progress = self.store.progress(record.id)
            return self.job(record) if progress is not None and progress.stage == stage else None

        return wait_for(there, timeout_s, f"stage {stage}")

    def child_of(self, record: JobRecord, attempt: int = -1) -> int:
        """The process that works on a job, or did in an attempt."""
        return int(self.job(record).attempts[attempt].worker.rpartition("/")[2])

    def close(self) -> None:
        """End every worker."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.resume()
                worker.kill()

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


StandFactory = Callable[..., Stand]


def make_record(settings: Settings, photos: int = 2, fake: dict[str, Any] | None = None, **changes: Any) -> JobRecord:
    """Build the record of a job as the API would."""
    now = datetime.now(UTC)
    images = [
        ImageInput(
            name=f"photo-{n}.jpg",
            bytes=len(tiny_jpeg()),
            sha256=hashlib.sha256(tiny_jpeg()).hexdigest(),
            media_type="image/jpeg",
            width=8,
            height=6,
        )
        for n in range(photos)
    ]
    values: dict[str, Any] = {
        "id": new_id("job"),
        "tenant": "local",
        "capture_id": new_id("cap"),
        "options": {"fake": fake} if fake else {},
        "outputs": ["scene.ply", "poses.json", "preview.png"],
        "images": images,
        "created_at": now,
        "queued_at": now,
        "retention_until": now + timedelta(days=settings.retention_days),
        **changes,
    }
    return JobRecord(**values)


def tiny_jpeg() -> bytes:
    """A real photograph of 8 x 6 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (90, 120, 150)).save(buffer, "JPEG")
    return buffer.getvalue()
