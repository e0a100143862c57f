"""The threads that deliver webhooks. They run in every API process; the outbox gives each event to one of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import redis

from services.adapters.webhook_delivery import WebhookSender
from services.adapters.webhook_outbox import Taken
from services.adapters.webhook_shares import LANES
from services.contract.webhooks import DeliveryStatus

log = logging.getLogger("m3r.webhooks")

LOOK_EVERY_S = 0.25
AWAY_S = 1.0  # pause while Redis does not answer
END_WITHIN_S = 2.0


class WebhookThread(threading.Thread):
    """Looks for events that are due and hands each to a lane. Whatever it is cut off from is due again when its lease ends."""

    def __init__(self, sender: WebhookSender, on_try: Callable[[DeliveryStatus], None] = lambda _: None) -> None:
        super().__init__(name="webhooks", daemon=True)
        self._sender = sender
        self._on_try = on_try
        self._free = threading.Semaphore(LANES)
        self._ended = threading.Event()

    def run(self) -> None:
        """Deliver until told to stop."""
        while not self._ended.is_set():
            if not self._free.acquire(timeout=LOOK_EVERY_S):
                continue
            taken, pause_s = self._take()
            if taken is not None:
                threading.Thread(target=self._deliver, args=(taken,), name="webhook", daemon=True).start()
                continue
            self._free.release()
            self._ended.wait(pause_s)

    def stop(self) -> None:
        """End: nothing new is taken; what is under way has a moment, and is tried again by the next process if it needs more."""
        self._ended.set()
        if self.is_alive():
            self.join(timeout=10)
        until = time.monotonic() + END_WITHIN_S
        for _ in range(LANES):
            self._free.acquire(timeout=max(0.0, until - time.monotonic()))

    def _take(self) -> tuple[Taken | None, float]:
        try:
            return self._sender.take(), LOOK_EVERY_S
        except (redis.RedisError, OSError) as error:
            log.warning("the outbox cannot be read: %s", error)
        except Exception:
            log.exception("the outbox cannot be read")
        return None, AWAY_S

    def _deliver(self, taken: Taken) -> None:
        try:
            state = self._sender.deliver(taken)
            if state is not None:
                self._on_try(state.status)
        except (redis.RedisError, OSError) as error:
            log.warning("%s: what came of a delivery could not be written down; it is tried again: %s", taken.job_id, error)
        except Exception:
            log.exception("%s: a delivery failed", taken.job_id)
        finally:
            self._free.release()
