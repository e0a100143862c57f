"""Memory: a limit of the process' own, and how to tell that the kernel killed a process for it."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable
from pathlib import Path

# cgroup version 2, version 1; a container sees its own group at the root.
OOM_FILES = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))


def limit_memory(limit_bytes: int | None) -> None:
    """Let allocations beyond a limit fail in this process (MemoryError), before the kernel kills it.

    RLIMIT_DATA counts private writable memory; RLIMIT_AS would count what CUDA merely reserves.
    """
    if limit_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))


def count_oom_kills(files: Iterable[Path] = OOM_FILES) -> int:
    """Say how many processes of this container the kernel has killed for memory; 0 where it does not tell."""
    for file in files:
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def peak_memory_bytes() -> int:
    """Largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
