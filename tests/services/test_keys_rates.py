"""Rates of tenants: what is beyond them is refused with 429 and told when to come back; browsers can read all of it."""

from __future__ import annotations

import concurrent.futures
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.adapters.embedded import EmbeddedRedis
from services.adapters.rates import RateError
from services.adapters.settings import Settings, to_environment
from services.api import keyring, quotas
from services.api.app import create_app
from services.contract.access import TenantRecord
from services.contract.ids import new_id
from tests.services.api_stand import assert_problem, open_api
from tests.services.conftest import make_settings
from tests.services.service_stand import wait_for
from tests.services.tenant_stand import open_tenants

RATE_HEADER = re.compile(r'"(read|write)";r=(\d+);t=(\d+)')


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember what is said of tenants for a moment only."""
    monkeypatch.setattr(keyring, "FRESH_S", 0.2)
    monkeypatch.setattr(quotas, "FRESH_S", 0.2)


def opened(settings: Settings, **changes: Any) -> Any:
    return open_tenants(settings.model_copy(update=changes))


def test_answers_tell_where_a_tenant_stands(settings: Settings) -> None:
    with opened(settings, rates={"read": "5/minute"}) as limited:
        answers = [limited.first.get("/v1/jobs") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"read";q=5;w=60'}
        left = [RATE_HEADER.fullmatch(answer.headers["ratelimit"]) for answer in answers]
        assert [int(each[2]) for each in left if each] == [4, 3, 2, 1, 0, 0]
        problem = assert_problem(answers[5], 429, "rate_limited")
        assert problem["retryable"]
        assert 1 <= int(answers[5].headers["retry-after"]) <= 60
        assert f"t={answers[5].headers['retry-after']}" in answers[5].headers["ratelimit"]


def test_scopes_and_tenants_are_counted_apart(settings: Settings) -> None:
    with opened(settings, rates={"read": "1/hour", "write": "1/hour"}) as limited:
        assert limited.first.get("/v1/jobs").status_code == 200
        assert limited.first.get("/v1/jobs").status_code == 429
        assert limited.first.post("/v1/captures").status_code == 201
        assert limited.second.get("/v1/jobs").status_code == 200
        with limited.client(limited.key("first")) as another_key:  # of the same tenant: it opens no second account
            assert another_key.get("/v1/info").status_code == 429
        assert "ratelimit" not in limited.first.get("/metrics").headers


def test_processes_count_together(settings: Settings) -> None:
    with opened(settings, rates={"write": "2/hour"}) as one, open_api(one.api.settings) as two:
        two.http.headers.update(one.first.headers)
        assert [client.post("/v1/captures").status_code for client in (one.first, two.http, one.first)] == [201, 201, 429]


def test_whoever_waits_as_told_is_let_in(settings: Settings) -> None:
    with opened(settings, rates={"read": "1 per 3 seconds"}) as limited:
        assert limited.first.get("/v1/jobs").status_code == 200
        refused = limited.first.get("/v1/jobs")
        assert refused.status_code == 429
        time.sleep(int(refused.headers["retry-after"]))
        assert limited.first.get("/v1/jobs").status_code == 200


def test_many_at_once_get_no_more(settings: Settings) -> None:
    with opened(settings, rates={"read": "10/hour"}) as limited, concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: limited.first.get("/v1/jobs").status_code, range(40)))
        assert sorted(answers) == [200] * 10 + [429] * 30


def test_a_tenant_s_own_rate_goes_first_and_changes_while_the_service_runs(settings: Settings) -> None:
    with opened(settings, rates={"read": "1/hour"}) as limited:
        limited.keys.set_tenant(TenantRecord(name="first", rates={"read": "none"}))
        limited.keys.set_tenant(TenantRecord(name="second", rates={"read": "2/hour"}))
        assert [limited.first.get("/v1/jobs").status_code for _ in range(4)] == [200] * 4
        assert [limited.second.get("/v1/jobs").status_code for _ in range(3)] == [200, 200, 429]
        limited.keys.set_tenant(TenantRecord(name="second", rates={"read": "100/hour"}))
        wait_for(lambda: limited.second.get("/v1/jobs").status_code == 200, 5, "the new rate")


def test_a_wrong_key_is_counted_for_nobody(settings: Settings) -> None:
    with opened(settings, rates={"read": "2/hour"}) as limited:
        for _ in range(5):
            answer = httpx.get(f"{limited.api.url}/v1/jobs", headers={"Authorization": "Bearer m3r_wrong"})
            assert answer.status_code == 401
            assert "ratelimit" not in answer.headers
        assert limited.first.get("/v1/jobs").status_code == 200


def test_while_redis_is_away_nobody_is_held_up(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        settings = make_settings(server.url, tmp_path, rates={"read": "2/hour"})
        with open_tenants(settings) as limited:
            assert limited.first.get("/v1/info").headers["ratelimit"].startswith('"read";r=1;')
            server.kill()
            for _ in range(5):  # no Redis is needed for this one
                answer = limited.first.get("/v1/info")
                assert answer.status_code == 200
                assert "ratelimit" not in answer.headers
            assert_problem(limited.first.get("/v1/jobs"), 503, "storage_unavailable")
            server.start()
            wait_for(lambda: "ratelimit" in limited.first.get("/v1/info").headers, 10, "the count")


def test_a_rate_that_is_none_is_an_error_at_the_start(settings: Settings) -> None:
    with pytest.raises(RateError, match="600/minute"), open_api_at_once(settings.model_copy(update={"rates": {"read": "much"}})):
        pass


def open_api_at_once(settings: Settings) -> Any:
    """Start the application in this thread, so that its errors come here."""
    from fastapi.testclient import TestClient

    return TestClient(create_app(settings))


def test_rates_travel_through_the_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in to_environment(settings.model_copy(update={"rates": {"read": "5/minute"}, "max_tenant_jobs": 3})).items():
        monkeypatch.setenv(name, value)
    assert Settings().rates == {"read": "5/minute"}
    assert Settings().max_tenant_jobs == 3


def test_a_browser_of_an_allowed_origin_reads_every_refusal(settings: Settings) -> None:
    origin = {"Origin": "https://app.example"}
    with opened(settings, cors_origins=("https://app.example",), rates={"read": "1/hour"}) as limited:
        shown = limited.first.get("/v1/jobs", headers=origin).headers
        assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= set(shown["access-control-expose-headers"].split(", "))
        for answer, status in (
            (limited.first.get("/v1/jobs", headers=origin), 429),
            (httpx.get(f"{limited.api.url}/v1/jobs", headers=origin), 401),
        ):
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
        foreign = limited.first.get("/v1/jobs", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in foreign.headers


def test_a_preflight_needs_no_key_and_costs_nothing(settings: Settings) -> None:
    ask = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,content-digest",
    }
    with opened(settings, cors_origins=("https://app.example",), rates={"write": "1/hour"}) as limited:
        for _ in range(3):
            answer = httpx.options(f"{limited.api.url}/v1/captures/{new_id('cap')}/images/a.jpg", headers=ask)
            assert answer.status_code == 204
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
            assert "content-digest" in answer.headers["access-control-allow-headers"]
        assert limited.first.post("/v1/captures").status_code == 201


def test_info_tells_what_the_caller_may(settings: Settings) -> None:
    with opened(settings, rates={"read": "500/minute", "write": "9/minute"}, max_tenant_jobs=7) as limited:
        limited.keys.set_tenant(TenantRecord(name="second", max_bytes=10**9, rates={"write": "none"}))
        assert limited.first.get("/v1/info").json()["tenant"] == {
            "name": "first",
            "scopes": ["admin", "localize", "read", "write"],
            "max_jobs": 7,
            "max_photos": None,
            "max_bytes": None,
            "rates": {"read": "500/minute", "write": "9/minute"},
        }
        second = limited.second.get("/v1/info").json()["tenant"]
        assert (second["name"], second["max_jobs"], second["max_bytes"]) == ("second", 7, 10**9)
        assert second["rates"] == {"read": "500/minute"}
