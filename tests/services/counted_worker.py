"""A worker whose count of processes that the kernel killed for memory is read from a file of the test. Not a setting."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from services.adapters.settings import Settings
from services.worker import guard
from services.worker.memory import count_oom_kills

COUNTER = "OOM_COUNTER"  # environment variable: a file as cgroups have it


def count_in_file() -> int:
    return count_oom_kills([Path(os.environ[COUNTER])])


guard.count_oom_kills = count_in_file  # type: ignore[assignment]

if __name__ == "__main__":
    from services.worker.app import run_worker

    sys.exit(run_worker(Settings()))
