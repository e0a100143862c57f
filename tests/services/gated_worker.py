"""A worker that can be held at chosen moments of a job, so that a fault strikes exactly there. Not a setting.

The moments: `before-claim`, `mid-stage`, `before-commit` (the results are written), `after-commit` (its durable copy is not), and
`rival`, which holds whoever takes the job while another process is held. A gate is armed by a file; who comes first leaves a file
with its process id and waits for a third one. While `disk-full` exists, every object that a process of this worker writes ends in
ENOSPC after its first bytes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from pathlib import Path
from typing import BinaryIO

from services.adapters import directory
from services.adapters.job_store import JobStore
from services.adapters.objects import StoredObject
from services.adapters.settings import Settings
from services.contract.jobs import JobRecord, JobResult
from services.worker.lease import Lease

FOLDER = "FAULT_GATES"  # environment variable
HELD_AT_MOST_S = 120.0
HELD_STAGE = "decode"
FIRST_BYTES = 64


class Gates:
    """The gates of one test, in a folder that the test and its workers share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def arm(self, moment: str, job_id: str) -> None:
        """Let the first process that comes to this moment of the job wait."""
        self._file(moment, job_id, "armed").touch()

    def open(self, moment: str, job_id: str) -> None:
        """Let it go on."""
        self._file(moment, job_id, "open").touch()

    def held(self, moment: str, job_id: str) -> int | None:
        """The process that waits or has waited."""
        with contextlib.suppress(FileNotFoundError):
            return int(self._file(moment, job_id, "reached").read_text())
        return None

    def pass_through(self, moment: str, job_id: str) -> None:
        """Wait if the gate is armed and nobody has come before. Called by the workers."""
        if not self._file(moment, job_id, "armed").exists() or self.held(moment, job_id) is not None:
            return
        mine = self._file(moment, job_id, f"by-{os.getpid()}")
        mine.write_text(str(os.getpid()))
        with contextlib.suppress(FileExistsError):
            os.link(mine, self._file(moment, job_id, "reached"))
        deadline = time.monotonic() + HELD_AT_MOST_S
        while self.held(moment, job_id) == os.getpid() and not self._file(moment, job_id, "open").exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the gate {moment} of {job_id} was not opened")
            time.sleep(0.02)

    def rival_of(self, job_id: str) -> bool:
        """Whether another process was held with this job before."""
        held = [path for path in self.folder.glob(f"*.{job_id}.reached") if not path.name.startswith("rival")]
        return any(int(path.read_text()) != os.getpid() for path in held)

    @property
    def disk_full(self) -> Path:
        """While this file exists, the workers' disk is full."""
        return self.folder / "disk-full"

    def _file(self, moment: str, job_id: str, what: str) -> Path:
        return self.folder / f"{moment}.{job_id}.{what}"


def gates() -> Gates:
    return Gates(Path(os.environ[FOLDER]))


def held_claim(self: JobStore, job_id: str, worker: str) -> JobRecord | None:
    gates().pass_through("before-claim", job_id)
    return true_claim(self, job_id, worker)


def held_commit(self: JobStore, job_id: str, token: str, result: JobResult) -> bool:
    gates().pass_through("before-commit", job_id)
    published = true_commit(self, job_id, token, result)
    gates().pass_through("after-commit", job_id)
    return published


def held_report(self: Lease, stage: str, fraction: float) -> None:
    if stage == HELD_STAGE:
        gates().pass_through("mid-stage", self.job_id)
        if gates().rival_of(self.job_id):
            gates().pass_through("rival", self.job_id)
    true_report(self, stage, fraction)


def write_on_a_full_disk(part: Path, key: str, data: bytes | BinaryIO) -> StoredObject:
    if not gates().disk_full.exists():
        return true_write(part, key, data)
    part.write_bytes((data if isinstance(data, bytes) else data.read())[:FIRST_BYTES])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# At import, so that the child, which imports this module as its main one, is held too.
true_claim, true_commit, true_report, true_write = JobStore.claim, JobStore.commit, Lease.report, directory._write
if FOLDER in os.environ:
    JobStore.claim = held_claim  # type: ignore[method-assign]
    JobStore.commit = held_commit  # type: ignore[method-assign]
    Lease.report = held_report  # type: ignore[method-assign]
    directory._write = write_on_a_full_disk

if __name__ == "__main__":
    from services.worker.app import run_worker

    sys.exit(run_worker(Settings()))
