"""A held worker with the fencing check switched off: the negative control of the fault matrix. Not a setting."""

from __future__ import annotations

import sys

from services.adapters.settings import Settings
from tests.services import gated_worker, unfenced_worker

assert gated_worker.FOLDER
assert unfenced_worker.holds_anything

if __name__ == "__main__":
    from services.worker.app import run_worker

    sys.exit(run_worker(Settings()))
