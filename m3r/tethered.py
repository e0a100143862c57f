"""`python -m m3r.tethered [worker | localisation]`: a worker that ends when the process that started it is gone, even by kill -9.

The starter holds the other end of standard input; end of file means that it is dead.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

GRACE_S = 20.0
NICE = 5  # of workers that reconstruct: API and queries beside them come first on the processors they share


def watch_starter() -> None:
    """Wait for the end of standard input, then end the whole process group."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def run_role(role: str) -> int:
    """Be a worker of this kind; gives the process' exit status."""
    from services.adapters.settings import Settings

    if role == "localisation":
        from services.worker.localisation import run_localisation_worker

        return run_localisation_worker(Settings())
    from services.worker.app import run_worker

    os.nice(NICE)
    return run_worker(Settings())


if __name__ == "__main__":
    threading.Thread(target=watch_starter, daemon=True, name="starter").start()
    sys.exit(run_role(sys.argv[1] if len(sys.argv) > 1 else "worker"))
