"""The latency path when something breaks: no worker, a dead one, too much to do, Redis away."""

from __future__ import annotations

import concurrent.futures
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.adapters.embedded import EmbeddedRedis
from services.adapters.settings import Settings
from tests.services.api_stand import assert_problem
from tests.services.conftest import make_settings
from tests.services.fake_localisation import photo_that
from tests.services.localisation_stand import Localising, open_localising
from tests.services.service_stand import wait_for

GREY = photo_that("")
SLOW = "tests.services.fake_localisation:load_slow"  # 0.2 s a query


@pytest.fixture
def localising(settings: Settings, tmp_path: Path) -> Iterator[Localising]:
    with open_localising(settings, tmp_path, start=False) as made:
        yield made


def test_without_a_worker_503_comes_at_once(localising: Localising) -> None:
    started = time.monotonic()
    answer = localising.ask(sent=(GREY,), deadline_ms=60_000)
    problem = assert_problem(answer, 503, "localisation_unavailable")
    assert problem["retryable"]
    assert int(answer.headers["retry-after"]) > 0
    assert time.monotonic() - started < 10
    assert localising.api.store.redis.exists(localising.settings.key_prefix + "localisation:queries") == 0


def test_a_worker_that_was_stopped_takes_no_more_queries(localising: Localising) -> None:
    worker = localising.start_worker()
    assert localising.ask(sent=(GREY,)).status_code == 200
    assert worker.stop() == 0
    assert_problem(localising.ask(sent=(GREY,)), 503, "localisation_unavailable")


@pytest.mark.faults
def test_a_query_that_kills_its_worker_takes_no_other_with_it(localising: Localising) -> None:
    """With another worker beside, what was in work is tried once more within its deadline; the killer is named at last."""
    localising.start_worker()
    localising.start_worker()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        killer = pool.submit(localising.ask, photo_that("do-crash"), (GREY,), deadline_ms=20_000)
        wait_for(lambda: sum(w.process.poll() is None for w in localising.workers) == 0, 20, "the death of both workers")
        localising.start_worker()  # the third meets what was tried twice
        answer = killer.result()
    assert_problem(answer, 503, "localisation_unavailable")
    assert localising.ask(sent=(GREY,)).status_code == 200
    assert localising.api.store.redis.xlen(localising.settings.key_prefix + "localisation:queries") == 0


def test_what_a_dead_worker_held_is_answered_by_another_in_time(localising: Localising) -> None:
    frozen = localising.start_worker()
    frozen.pause()  # it takes nothing more, but counts as alive for a while
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(localising.ask, GREY, (GREY,), deadline_ms=30_000)
        queries = localising.settings.key_prefix + "localisation:queries"
        wait_for(lambda: localising.api.store.redis.xlen(queries) == 1, 10, "the query")
        frozen.kill()
        localising.start_worker()
        assert asked.result().status_code == 200


def test_a_crash_in_one_engine_call_is_survived_by_a_device_fault_restart(localising: Localising) -> None:
    worker = localising.start_worker()
    answer = localising.ask(photo_that("do-device"), (GREY,))
    assert_problem(answer, 500, "engine_error")
    wait_for(lambda: worker.process.poll() is not None, 20, "the end of a process whose device failed")
    assert worker.process.returncode == 70


def test_a_deadline_that_cannot_be_met_is_refused_before_it_costs_anything(localising: Localising) -> None:
    worker = localising.start_worker(localisation_engine=SLOW, localisation_batch=1)
    worker.pause()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        patient = [pool.submit(localising.ask, GREY, (GREY,), deadline_ms=60_000) for _ in range(8)]
        queries = localising.settings.key_prefix + "localisation:queries"
        wait_for(lambda: localising.api.store.redis.xlen(queries) == 8, 20, "queries that wait")
        answer = localising.ask(GREY, (GREY,), deadline_ms=1_200)  # eight of 0.2 s come first
        worker.resume()
        problem = assert_problem(answer, 503, "deadline_not_met")
        assert "the queries that wait take about" in problem["detail"]
        assert int(answer.headers["retry-after"]) >= 2
        assert [each.result().status_code for each in patient] == [200] * 8
    prefix = localising.settings.key_prefix + "localisation:query:"
    assert list(localising.api.store.redis.scan_iter(prefix + "*")) == []


def test_queries_that_wait_together_go_through_the_network_together(localising: Localising) -> None:
    worker = localising.start_worker(localisation_batch=3)
    assert localising.ask(sent=(GREY,)).json()["confidence"]["reprojection_px"] == 2  # the query and its reference
    worker.pause()
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(localising.ask, photo_that("", (n, n, n)), (GREY,), deadline_ms=30_000) for n in range(50, 200, 25)]
        queries = localising.settings.key_prefix + "localisation:queries"
        wait_for(lambda: localising.api.store.redis.xlen(queries) == 6, 20, "queries that wait")
        worker.resume()
        answers = [each.result().json() for each in asked]
    together = [answer["confidence"]["reprojection_px"] for answer in answers]
    assert max(together) == 6  # three queries with a reference each, and never more
    assert sum(together) >= 4 * 6  # the first may have been taken alone before the pause
    assert [answer["pose"]["position"][0] for answer in answers] == pytest.approx([n / 100 for n in range(50, 200, 25)], abs=0.02)


def test_one_bad_query_of_a_batch_is_told_by_itself(localising: Localising) -> None:
    worker = localising.start_worker()
    worker.pause()
    wishes = ["", "do-raise", "", "do-memory"]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(localising.ask, photo_that(wish), (GREY,), deadline_ms=30_000) for wish in wishes]
        queries = localising.settings.key_prefix + "localisation:queries"
        wait_for(lambda: localising.api.store.redis.xlen(queries) == 4, 20, "queries that wait")
        worker.resume()
        assert [each.result().status_code for each in asked] == [200, 500, 200, 503]


def test_a_stale_query_is_dropped_undecoded(localising: Localising) -> None:
    worker = localising.start_worker()
    worker.pause()
    assert_problem(localising.ask(photo_that("do-crash"), (GREY,), deadline_ms=300), 503, "deadline_not_met")
    worker.resume()
    assert localising.ask(sent=(GREY,)).status_code == 200  # had it been decoded, the worker would be dead
    assert worker.process.poll() is None


def test_as_many_wait_as_may_and_no_more(settings: Settings, tmp_path: Path) -> None:
    with open_localising(settings, tmp_path, start=False, localisation_max_waiting=3) as made:
        made.start_worker(localisation_engine=SLOW, localisation_batch=1).pause()
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            asked = [pool.submit(made.ask, GREY, (GREY,), deadline_ms=4_000) for _ in range(6)]
            codes = [(each.result().status_code, each.result().json()["detail"]) for each in asked]
    assert [status for status, _ in codes] == [503] * 6
    assert sum("as many queries wait as may" in detail for _, detail in codes) == 3


@pytest.mark.faults
def test_photographs_that_wait_are_bounded_in_bytes(settings: Settings, tmp_path: Path) -> None:
    with open_localising(settings, tmp_path, start=False, localisation_queue_bytes=4000) as made:
        made.start_worker().pause()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(made.ask, GREY, (GREY,), deadline_ms=3_000) for _ in range(8)]
            refused = sum("as many queries wait as may" in each.result().json()["detail"] for each in asked)
    assert 1 <= refused < 8


def test_redis_away_is_503_and_queries_go_on_after_it(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server, open_localising(make_settings(server.url, tmp_path), tmp_path) as made:
        assert made.ask(sent=(GREY,)).status_code == 200
        server.kill()
        answer = made.ask(sent=(GREY,))
        assert assert_problem(answer, 503, "storage_unavailable")["retryable"]
        server.start()
        wait_for(lambda: made.ask(sent=(GREY,)).status_code == 200, 30, "a query that is answered again")


def test_a_client_that_leaves_holds_nothing_up(localising: Localising) -> None:
    import httpx

    worker = localising.start_worker()
    worker.pause()
    with pytest.raises(httpx.ReadTimeout):
        localising.http.post("/v1/localize", files=[("image", ("q.jpg", GREY)), ("references", ("r.jpg", GREY))], timeout=0.5)
    worker.signal_all(signal.SIGCONT)
    assert localising.ask(sent=(GREY,)).status_code == 200
