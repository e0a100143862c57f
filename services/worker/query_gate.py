"""Queries go first: background work waits before each use of the network while queries are answered."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

LONGEST_WAIT_S = 2.0  # so that background work goes on, slowly, when queries never end


class QueryGate:
    """Closed while queries are answered."""

    def __init__(self) -> None:
        self._idle = threading.Event()
        self._idle.set()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Close the gate for as long as this takes."""
        self._idle.clear()
        try:
            yield
        finally:
            self._idle.set()

    def give_way(self) -> None:
        """Wait until no query is answered, or for `LONGEST_WAIT_S`."""
        self._idle.wait(LONGEST_WAIT_S)
