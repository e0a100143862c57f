"""One try at telling a receiver, and what follows from its answer. Standard Webhooks: headers, signature, retries, 410."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

from standardwebhooks import Webhook as Signer

from services.adapters.guarded_addresses import AllowedNetworks
from services.adapters.guarded_http import GuardedClient, TargetFailed, TargetRefused
from services.adapters.job_scripts import to_ms
from services.adapters.job_store import JobStore
from services.adapters.objects import ObjectStoreError
from services.adapters.settings import Settings
from services.adapters.webhook_events import OutboxEntry
from services.adapters.webhook_outbox import Taken, TryState, WebhookOutbox
from services.adapters.webhook_secrets import SecretUnreadable, WebhookSecrets
from services.adapters.webhook_shares import ReceiverShares
from services.contract.jobs import JobRecord
from services.contract.webhooks import Webhook

log = logging.getLogger("m3r.webhooks")

SLOWER_BY = 3.0  # from one pause to the next
LONGEST_PAUSE_S = 6 * 3600.0
JITTER = 0.25  # of a pause, so that what failed together does not come back together
LEASE_TRIES, LEASE_MARGIN_S = 2, 5.0  # the lease is so many times a try's time, and so much: the resolver may take some
WAIT_FOR_LANE_S = (1.0, 3.0)
GONE = 410


@dataclass(frozen=True)
class Answer:
    """What came of a try."""

    status: int | None = None  # HTTP status, if there was one
    error: str | None = None  # None: the receiver took it
    hopeless: bool = False  # the same will come of every other try
    gone: bool = False  # 410: the receiver wants no more of this job


@dataclass(frozen=True)
class WebhookSender:
    """Delivers events, one at a time; may be used by several threads."""

    store: JobStore
    outbox: WebhookOutbox
    secrets: WebhookSecrets
    client: GuardedClient
    settings: Settings
    shares: ReceiverShares = field(default_factory=ReceiverShares)

    def take(self) -> Taken | None:
        """Take the event that is due first; None when there is none."""
        return self.outbox.take(LEASE_TRIES * self.settings.webhook_timeout_s + LEASE_MARGIN_S)

    def deliver(self, taken: Taken) -> TryState | None:
        """Tell the receiver, or find that it is not to be told, and write down what came of it; raises redis.RedisError.

        None: the receiver has its share of the lanes; the event waits a little, which is no try.
        """
        record = self.store.get(taken.job_id)
        now = to_ms(self.store.now())
        if taken.stopped or record is None or record.webhook is None:
            state = replace(taken.state, status="dropped", next_ms=None)
            self.outbox.settle(taken, state)
            return state
        with self.shares.lane_to(urlsplit(record.webhook.url).netloc) as free:
            if not free:
                wait_ms = round(random.uniform(*WAIT_FOR_LANE_S) * 1000)
                self.outbox.settle(taken, replace(taken.state, next_ms=now + wait_ms))
                return None
            answer = self._try(record, record.webhook, taken.entry)
        state = next_state(taken, answer, now, to_ms(self.store.now()), self.settings)
        kept = self.outbox.settle(taken, state, stop=answer.gone)
        _tell(record, record.webhook, taken, answer, state, kept)
        return state

    def _try(self, record: JobRecord, webhook: Webhook, entry: OutboxEntry) -> Answer:
        try:
            secret = self.secrets.of_job(webhook, record.tenant)
            headers = signed_headers(entry.id, entry.body, secret, datetime.now(UTC))
            status = self.client.post(webhook.url, headers, entry.body.encode(), self.settings.webhook_timeout_s)
        except (TargetRefused, SecretUnreadable) as error:
            return Answer(error=str(error), hopeless=isinstance(error, SecretUnreadable))
        except (TargetFailed, ObjectStoreError) as error:
            return Answer(error=str(error))
        if 200 <= status < 300:
            return Answer(status)
        return Answer(status, f"the receiver answered {status}", hopeless=status == GONE, gone=status == GONE)


def make_sender(store: JobStore, outbox: WebhookOutbox, secrets: WebhookSecrets, settings: Settings) -> WebhookSender:
    """Put a sender together as the settings say; raises ValueError for a network that is none."""
    networks = AllowedNetworks(settings.webhook_allowed_networks)
    client = GuardedClient(networks, settings.webhook_allow_http, settings.webhook_ca_file)
    return WebhookSender(store, outbox, secrets, client, settings)


def signed_headers(event_id: str, body: str, secret: str, now: datetime) -> dict[str, str]:
    """The headers of a delivery (Standard Webhooks 1.0.0); signed anew at every try, since receivers refuse old times."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "m3r-webhooks/1",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Signer(secret).sign(event_id, now, body),
    }


def next_state(taken: Taken, answer: Answer, began_ms: int, now_ms: int, settings: Settings) -> TryState:
    """Decide what becomes of an event after a try: delivered, tried again later, or given up."""
    before = taken.state
    tried = replace(
        before,
        attempts=before.attempts + 1,
        tries=before.tries + 1,
        last_ms=began_ms,
        next_ms=None,
        last_status=answer.status,
        last_error=answer.error,
    )
    if answer.error is None:
        return replace(tried, status="delivered", delivered_ms=now_ms)
    age_ms = now_ms - (before.opened_ms or taken.entry.at_ms)
    spent = tried.tries >= settings.webhook_max_attempts or age_ms > settings.webhook_max_age_h * 3_600_000
    if answer.hopeless or spent:
        return replace(tried, status="failed")
    return replace(tried, next_ms=now_ms + round(pause_s(tried.tries, settings.webhook_retry_first_s) * 1000))


def pause_s(tries: int, first_s: float) -> float:
    """How long to wait after this many tries: exponential, bounded, with jitter."""
    exponent = min(tries - 1, 30)
    pause = min(first_s * SLOWER_BY**exponent, LONGEST_PAUSE_S)
    return pause * random.uniform(1 - JITTER, 1 + JITTER)


def _tell(record: JobRecord, webhook: Webhook, taken: Taken, answer: Answer, state: TryState, kept: bool) -> None:
    """Log a try: the receiver's host alone, since paths and queries may be secrets of the client."""
    facts = {"job_id": record.id, "request_id": record.request_id, "tenant": record.tenant, "attempt": state.attempts}
    facts |= {"delivery_id": taken.entry.id, "host": urlsplit(webhook.url).hostname, "status": answer.status}
    level = logging.INFO if state.status == "delivered" else logging.WARNING
    fate = state.status if kept else "settled by another"
    log.log(level, "%s: %s%s", taken.entry.type, fate, f" ({answer.error})" if answer.error else "", extra=facts)
