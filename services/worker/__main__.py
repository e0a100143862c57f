"""`python -m services.worker`: a worker, its settings from the environment (`M3R_…`)."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Idle OpenMP threads that spin take the processor from queue, API and each other; read when torch is first loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from services.adapters.settings import Settings
    from services.worker.app import run_worker

    sys.exit(run_worker(Settings()))
