"""The engine of one process: loaded once, beside the main thread, and kept across jobs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from services.adapters.settings import Settings
from services.worker.engine import Engine, find_engine

log = logging.getLogger("m3r.worker")


class ResidentEngine:
    """Loads in a thread, so that a process is up at once; whoever needs the engine waits for it."""

    def __init__(self, settings: Settings, on_loaded: Callable[[Engine], None]) -> None:
        self._settings = settings
        self._on_loaded = on_loaded
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    def load_in_background(self) -> None:
        """Begin to load. A failure is logged; the first job tries again and reports it."""
        threading.Thread(target=self._try_to_load, name="load-engine", daemon=True).start()

    def get(self) -> Engine:
        """Give the engine, loaded; raises what its loader raises."""
        with self._lock:
            if self._engine is None:
                self._engine = find_engine(self._settings)(self._settings)
                log.info("engine %s is loaded", self._engine.name)
                self._on_loaded(self._engine)
            return self._engine

    def _try_to_load(self) -> None:
        try:
            self.get()
        except Exception:
            log.exception("the engine could not be loaded")
