"""`python -m m3r.tethered`: a worker that ends when the process that started it is gone, even by kill -9.

The starter holds the other end of standard input; end of file means that it is dead.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

GRACE_S = 20.0


def watch_starter() -> None:
    """Wait for the end of standard input, then end the whole process group."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    from services.adapters.settings import Settings
    from services.worker.app import run_worker

    threading.Thread(target=watch_starter, daemon=True, name="starter").start()
    sys.exit(run_worker(Settings()))
