"""Many jobs queued at once and many slow uploads at once, over `m3r serve` with two workers: everything right, nobody held up.

Sizes for every run of the tests; `make faults` does them in full, and benchmarks/bench_service_load.py prints the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.bench_api_load import Service
from benchmarks.bench_service_load import FAKE, queue_jobs, service, upload_slowly

POLL_MS = 1500.0  # generous: other work may hold the machine; an upload that blocked the service would hold it for seconds


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    """A service with two workers."""
    with service(FAKE) as started:
        yield started


def check_queue(running: Service, count: int) -> None:
    """All jobs end well, each after one attempt, with its files."""
    queued = queue_jobs(running, count)
    print(f"{count} jobs: submitted in {queued.submit_s:.1f} s, all ended in {queued.all_s:.1f} s, wrong: {queued.wrong}")
    assert queued.wrong == []


def check_uploads(running: Service, clients: int, seconds: float) -> None:
    """All uploads become good jobs, and polls beside them are answered."""
    seen = upload_slowly(running, clients, seconds)
    late = sorted(seen.meanwhile_ms)
    print(f"{clients} uploads in {seen.seconds:.1f} s, refused {seen.refused}; polls: {late[len(late) // 2]:.1f} ms median")
    assert seen.refused == 0
    assert seen.seconds >= seconds / 2, "the uploads were not slow"
    assert len(late) >= 10 * seconds, "polls were made all the while"
    assert late[int(0.9 * len(late))] < POLL_MS


@pytest.mark.timeout(240)
def test_many_jobs_at_once(running: Service) -> None:
    check_queue(running, 40)


@pytest.mark.timeout(240)
def test_slow_uploads_at_once(running: Service) -> None:
    check_uploads(running, 24, 2.0)


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_two_hundred_jobs_at_once(running: Service) -> None:
    check_queue(running, 200)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_slow_uploads_at_length(running: Service) -> None:
    check_uploads(running, 24, 20.0)
