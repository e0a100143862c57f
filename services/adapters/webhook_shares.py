"""No receiver takes all the lanes: one that is silent holds each lane for a whole try, and others must not wait for that."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

LANES = 8  # tries at a time in one process
LANES_OF_ONE = 4  # to one receiver


class ReceiverShares:
    """Counts what is under way to each receiver. For threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()

    @contextlib.contextmanager
    def lane_to(self, receiver: str) -> Iterator[bool]:
        """Hold a lane to a receiver; gives False when it has its share already, and then nothing is to be sent."""
        with self._lock:
            free = self._busy[receiver] < LANES_OF_ONE
            self._busy[receiver] += free
        try:
            yield free
        finally:
            with self._lock:
                self._busy[receiver] -= free
                if self._busy[receiver] == 0:
                    del self._busy[receiver]
