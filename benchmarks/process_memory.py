"""Peak of a process's resident memory during a piece of work (Linux)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path


def peak_mib(work: Callable[[], object]) -> float:
    """MiB that `work` needs at its peak above what the process held before; NaN where the system does not say (not Linux).

    Memory freed before and kept by the allocator would hide some of it, so it is handed back first.
    """
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return float("nan")
    ctypes.CDLL(None).malloc_trim(0)
    clear.write_text("5")  # the peak starts anew
    before = _status_mib("VmRSS")
    work()
    return _status_mib("VmHWM") - before


def _status_mib(entry: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(entry))
    return float(line.split()[1]) / 1024
