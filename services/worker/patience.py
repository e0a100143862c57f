"""Trying again what fails for a while: stores that restart, networks that stall."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
log = logging.getLogger("m3r.worker")

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0


def persist(
    work: Callable[[], T], errors: tuple[type[Exception], ...], patience_s: float, between: Callable[[], None] | None = None
) -> T:
    """Call `work` until it succeeds; after `patience_s` its error comes out. `between`, called before each pause, may raise."""
    deadline, pause = time.monotonic() + patience_s, FIRST_PAUSE_S
    while True:
        try:
            return work()
        except errors as error:
            if time.monotonic() + pause > deadline:
                raise
            log.warning("trying again in %.1f s: %s", pause, error)
            if between is not None:
                between()
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
