"""The outbox of the webhooks in Redis: events are put in by the step that they tell of (`swap.lua`), and taken out here.

    hooks             jobs that have open events, by when to look: the next try's time, or the end of the lease of who has it
    hooks:<id>        event:<n> (OutboxEntry), state:<n> (TryState), owner (who delivers now), stopped (the receiver said 410)
    hooks:<id>:open   numbers of the events that are not settled, in their order

One job is told one event at a time, in their order; different jobs do not wait for each other.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import TypeAdapter

from services.adapters.job_scripts import to_ms
from services.adapters.job_store import JobStore
from services.adapters.webhook_events import OutboxEntry, read_entry
from services.contract.webhooks import Delivery, DeliveryStatus


@dataclass(frozen=True)
class TryState:
    """How far the delivery of one event is. Times in ms since 1970, of the Redis server."""

    status: DeliveryStatus = "pending"
    attempts: int = 0  # in all
    tries: int = 0  # since it was opened (again): these are limited
    opened_ms: int | None = None  # when it was opened again; None: never, its own time counts
    last_ms: int | None = None
    next_ms: int | None = None
    last_status: int | None = None
    last_error: str | None = None
    delivered_ms: int | None = None


@dataclass(frozen=True)
class Taken:
    """An event that this process delivers now, alone."""

    job_id: str
    token: str
    entry: OutboxEntry
    state: TryState
    stopped: bool  # the receiver wants no more of this job


class DeliveryInProgress(Exception):
    """The job's webhook is being told something at this moment."""


class DeliveryNotFound(Exception):
    """The job has no such delivery."""


_STATES = TypeAdapter(TryState)


class WebhookOutbox:
    """Takes events that are due, and remembers what came of them. Methods raise redis.RedisError."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def take(self, lease_s: float) -> Taken | None:
        """Take the event that is due first; None when there is none. Whoever does not settle it in time loses it to another."""
        token = secrets.token_hex(8)
        answer = self._store.run("webhook_claim", token, round(lease_s * 1000))
        if not answer:
            return None
        job_id, _, line, state, stopped = answer
        return Taken(job_id, token, read_entry(line), _read_state(state), bool(stopped))

    def settle(self, taken: Taken, state: TryState, stop: bool = False) -> bool:
        """Write down what came of a try; False when it is another's by now, or the job was deleted."""
        again = "" if state.next_ms is None else str(state.next_ms)
        number, line = taken.entry.sequence, _STATES.dump_json(state).decode()
        return bool(self._store.run("webhook_settle", taken.job_id, taken.token, number, line, again, "stop" if stop else ""))

    def reopen(self, job_id: str, delivery_id: str) -> Delivery:
        """Deliver an event (again), with all its tries; raises DeliveryNotFound, DeliveryInProgress."""
        found = next((each for each in self._entries(job_id) if each[0].id == delivery_id), None)
        if found is None:
            raise DeliveryNotFound(f"{job_id} has no delivery {delivery_id}")
        entry, state = found
        now = to_ms(self._store.now())
        fresh = TryState(
            attempts=state.attempts, opened_ms=now, last_ms=state.last_ms, last_status=state.last_status, next_ms=now
        )
        answer = self._store.run("webhook_reopen", job_id, entry.sequence, _STATES.dump_json(fresh).decode())
        if answer == -1:
            raise DeliveryInProgress(f"{job_id}: a delivery is under way")
        if answer == 0:
            raise DeliveryNotFound(f"{job_id} has no delivery {delivery_id}")
        return _view(entry, fresh)

    def deliveries(self, job_id: str) -> list[Delivery]:
        """All events of a job, in their order."""
        return [_view(entry, state) for entry, state in self._entries(job_id)]

    def open_jobs(self) -> int:
        """How many jobs have events that are not settled."""
        return int(self._store.redis.zcard(self._store.prefix + "hooks"))

    def _entries(self, job_id: str) -> list[tuple[OutboxEntry, TryState]]:
        kept = self._store.redis.hgetall(f"{self._store.prefix}hooks:{job_id}")
        entries = [read_entry(line) for name, line in kept.items() if name.startswith("event:")]
        entries.sort(key=lambda entry: entry.sequence)
        return [(entry, _read_state(kept.get(f"state:{entry.sequence}", ""))) for entry in entries]


def _read_state(line: str) -> TryState:
    return _STATES.validate_json(line) if line else TryState()


def _view(entry: OutboxEntry, state: TryState) -> Delivery:
    return Delivery(
        id=entry.id,
        sequence=entry.sequence,
        type=entry.type,
        status=state.status,
        attempts=state.attempts,
        created_at=_at(entry.at_ms),
        last_attempt_at=None if state.last_ms is None else _at(state.last_ms),
        next_attempt_at=None if state.next_ms is None else _at(state.next_ms),
        last_status=state.last_status,
        last_error=state.last_error,
        delivered_at=None if state.delivered_ms is None else _at(state.delivered_ms),
    )


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
