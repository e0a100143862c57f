"""The worker's background thread: encodes new references and freezes scenes, while queries go first."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

import redis

from services.adapters.localisation_chores import Chore, ChoreList
from services.adapters.localisation_store import RecordStore
from services.adapters.objects import ObjectStoreError
from services.adapters.settings import Settings
from services.contract.localisation_records import MapRecord, ReferenceRecord
from services.worker.failures import is_device_fault
from services.worker.localisation_freezing import MapFreezer
from services.worker.localisation_references import ReferenceShelf
from services.worker.query_gate import QueryGate

log = logging.getLogger("m3r.localisation")

PAUSE_S = 0.3
STORAGE_PAUSE_S = 2.0
MAX_TRIES = 3


class ChoreLost(Exception):
    """A piece of work is not wanted any more, or the worker ends."""


class BackgroundThread(threading.Thread):
    """Takes one piece of work after the other."""

    def __init__(
        self,
        chores: ChoreList,
        shelf: ReferenceShelf,
        freezer: MapFreezer,
        records: tuple[RecordStore[ReferenceRecord], RecordStore[MapRecord]],
        gate: QueryGate,
        settings: Settings,
        on_device_fault: Callable[[], None],
    ) -> None:
        super().__init__(name="localisation-background", daemon=True)
        self._chores, self._shelf, self._freezer, self._gate = chores, shelf, freezer, gate
        self._references, self._maps = records
        self._renew_every_s = settings.lease_s / 3
        self._on_device_fault = on_device_fault
        self._ended = threading.Event()

    def run(self) -> None:
        """Work until told to stop. A store that is away: the work comes back when its lease is over."""
        while not self._ended.is_set():
            try:
                chore = self._chores.take()
                if chore is None:
                    self._ended.wait(PAUSE_S)
                    continue
                self._work(chore)
            except (redis.RedisError, ObjectStoreError) as error:
                log.warning("background work was cut off: %s", error)
                self._ended.wait(PAUSE_S)
            except ChoreLost:
                continue
            except Exception as error:
                log.exception("background work failed")
                if is_device_fault(error):
                    self._on_device_fault()
                    return

    def stop(self) -> None:
        """End the thread; work in hand comes back when its lease is over."""
        self._ended.set()
        if self.is_alive():
            self.join(timeout=5)

    def _work(self, chore: Chore) -> None:
        with self._renewing(chore) as lost:

            def give_way() -> None:
                self._gate.give_way()
                if lost.is_set() or self._ended.is_set():
                    raise ChoreLost

            try:
                if chore.kind == "map":
                    self._build(chore, give_way)
                else:
                    self._encode(chore, give_way)
            except ObjectStoreError:
                self._chores.postpone(chore, STORAGE_PAUSE_S)
                raise
        self._chores.done(chore)

    def _build(self, chore: Chore, give_way: Callable[[], None]) -> None:
        try:
            if chore.tries <= MAX_TRIES:
                self._freezer.build(chore.id, give_way)
                return
            failure = "worker_lost", f"the worker died or failed {MAX_TRIES} times while it froze the scene"
        except (ChoreLost, ObjectStoreError, redis.RedisError):
            raise
        except Exception as error:
            if is_device_fault(error):
                raise
            log.exception("map %s cannot be built", chore.id)
            failure = "engine_error", f"the engine failed ({type(error).__name__}); the worker's log has more"
        record = self._maps.get(chore.id)
        if record is not None and record.status == "building":
            self._freezer.fail(record, *failure)

    def _encode(self, chore: Chore, give_way: Callable[[], None]) -> None:
        """Encode a reference before the first query asks for it. A photograph that cannot be is told to that query."""
        record = self._references.get(chore.id)
        if record is None or chore.tries > MAX_TRIES:
            return
        give_way()
        try:
            self._shelf.get(record.id, record.name)
        except (ObjectStoreError, redis.RedisError):
            raise
        except Exception as error:
            if is_device_fault(error):
                raise
            log.warning("%s cannot be encoded: %s", record.id, error)

    @contextlib.contextmanager
    def _renewing(self, chore: Chore) -> Iterator[threading.Event]:
        """Keep the lease while this lasts; the event is set when the work is not wanted any more."""
        lost, done = threading.Event(), threading.Event()

        def renew() -> None:
            while not done.wait(self._renew_every_s):
                with contextlib.suppress(redis.RedisError):
                    if not self._chores.renew(chore):
                        lost.set()

        thread = threading.Thread(target=renew, name="localisation-lease", daemon=True)
        thread.start()
        try:
            yield lost
        finally:
            done.set()
            thread.join(timeout=5)
