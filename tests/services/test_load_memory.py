"""Memory of API and workers stays flat over many jobs; an engine that leaks is caught by the same check."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks.bench_service_load import FAKE, LEAKING, Growth, grow, service
from tests.services.leaking_engine import LEAK_BYTES

SHORT_KIB_A_JOB = 100.0  # over few jobs what is allocated once weighs more
LEAK_KIB = LEAK_BYTES / 1024


def shown(rows: Sequence[Growth]) -> dict[str, float]:
    """KiB that each process grows by with a job."""
    return {row.part: round(row.kib_a_job, 1) for row in rows}


@pytest.mark.timeout(240)
def test_a_leak_is_seen_and_no_leak_is_none() -> None:
    with service(FAKE) as running:
        sound = shown(grow(running, 96, 12))
    with service(LEAKING) as running:
        leaking = shown(grow(running, 96, 12))
    assert max(sound.values()) < SHORT_KIB_A_JOB, sound
    assert leaking["workers"] > LEAK_KIB / 2, leaking
    assert leaking["workers"] > sound["workers"] + SHORT_KIB_A_JOB, (sound, leaking)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_memory_is_flat_after_a_thousand_jobs() -> None:
    with service(FAKE) as running:
        rows = grow(running, 1000)
    print(rows)
    assert all(row.flat for row in rows), rows
    assert all(row.last_mib < 1.1 * row.first_mib + 16 for row in rows), rows
