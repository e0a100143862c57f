"""The Lua scripts of the job store and their arguments: shared by its synchronous and its asynchronous form.

All keys begin with one prefix and are made inside the scripts, so one Redis (or a primary with replicas) holds them, no cluster.

    job:<id>        hash: doc (the record), version, status, token       jobs:<tenant>[:<status>]   ids in the order of creation
    progress:<id>   the latest progress                                  events:<id>                stream of status and progress
    queued          by time of queueing      sent       when a message was last sent or seen        deadlines   of queued jobs
    leases          by expiry                dirty      durable copy is behind                      strays      leftovers
    expiry          end of retention         purges     data to remove                              server      run id last seen
    capture:<id>:jobs   the jobs that use a capture and are not deleted
    hooks           jobs with events to deliver, by when to try; see `webhook_outbox`      hooks:<id>, hooks:<id>:open
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from importlib import resources

from services.adapters.settings import Settings
from services.adapters.webhook_events import entry_of, write_entry
from services.contract.jobs import JobRecord
from services.contract.states import JobStatus

EVENTS_KEPT = 1000
EVENTS_KEPT_MS = 24 * 3600 * 1000
CAPTURE_GONE = -1  # answers of `swap`
TOO_MANY_JOBS = -2
ABSENT = -1  # expected version of a job that does not exist yet


@cache
def script(name: str) -> str:
    """Read one of the Lua scripts."""
    return resources.files("services.adapters").joinpath("lua", f"{name}.lua").read_text()


def swap_arguments(
    record: JobRecord,
    expected: int,
    takes_lease: bool,
    settings: Settings,
    requires: str | None = None,
    max_active: int | None = None,
) -> list[str]:
    """Say what `swap.lua` must know about the next record; `requires`, `max_active`: see `JobStore.create`."""
    queued = record.status is JobStatus.QUEUED
    facts: dict[str, object] = {
        "id": record.id,
        "tenant": record.tenant,
        "capture": record.capture_id,
        "expected": expected,
        "version": record.version,
        "status": record.status.value,
        "token": record.token or "",
        "deleted": record.deleted_at is not None,
        "queued_ms": to_ms(record.queued_at),
        "keep_events": EVENTS_KEPT,
        "keep_events_ms": EVENTS_KEPT_MS,
    }
    if requires is not None:
        facts["requires"] = requires
    if max_active is not None:
        facts["max_active"] = max_active
    if queued and record.deadline_at is not None:
        facts["deadline_ms"] = to_ms(record.deadline_at)
    if takes_lease:
        facts["lease_ms"] = round(settings.lease_s * 1000)
    if record.terminal:
        facts["expires_ms"] = _expires_ms(record, settings)
        facts["stray_ms"] = round(settings.stray_grace_s * 1000)
    entry = entry_of(record, settings)
    if entry is not None:
        facts["hook"] = {
            "sequence": entry.sequence,
            "at_ms": entry.at_ms,
            "max_age_ms": round(settings.webhook_max_age_h * 3_600_000),
        }
    outgoing = write_entry(entry) if entry is not None else ""
    return [settings.key_prefix, json.dumps(facts), record.model_dump_json(), _status_event(record), outgoing]


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def from_redis_time(answer: tuple[int, int]) -> datetime:
    """Read the answer of TIME."""
    return datetime.fromtimestamp(answer[0] + answer[1] / 1e6, UTC)


def _expires_ms(record: JobRecord, settings: Settings) -> int:
    if record.deleted_at is None:
        return to_ms(record.retention_until)
    return to_ms(record.deleted_at) + round(settings.tombstone_days * 86_400_000)


def _status_event(record: JobRecord) -> str:
    error = record.error.model_dump(mode="json") if record.error else None
    facts = {
        "status": record.status.value,
        "terminal": record.terminal,
        "version": record.version,
        "attempt": len(record.attempts),
    }
    return json.dumps({**facts, "error": error})
