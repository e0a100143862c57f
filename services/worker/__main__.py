"""`python -m services.worker`: a worker, its settings from the environment (`M3R_…`)."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from services.adapters.settings import Settings
    from services.worker.app import run_worker

    sys.exit(run_worker(Settings()))
