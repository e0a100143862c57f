"""Keys over HTTP: made, expired, revoked while the service runs; the service that has none; stores that go away."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.adapters.directory import DirectoryStore
from services.adapters.key_store import KeyStore
from services.adapters.objects import StorageUnavailable
from services.adapters.settings import Settings
from services.api import keyring
from services.api.auth import OpenBindError, check_bind
from tests.services.api_stand import Api, api, assert_problem, open_api
from tests.services.service_stand import wait_for
from tests.services.tenant_stand import Tenants, bearer, open_tenants, tenants

__all__ = ["api", "tenants"]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember keys for a moment only."""
    monkeypatch.setattr(keyring, "FRESH_S", 0.2)


def test_a_key_opens_its_tenant_s_resources(tenants: Tenants) -> None:
    job_id = tenants.api.new_job()["id"]
    with tenants.client(tenants.key("first")) as another_key:
        assert another_key.get(f"/v1/jobs/{job_id}").status_code == 200
    assert tenants.api.record(job_id).tenant == "first"


@pytest.mark.parametrize("key", ["m3r_" + "A" * 43, ".", "x" * 5000, "Ä", "m3r_../../keys"])
def test_a_wrong_key_is_refused(tenants: Tenants, key: str) -> None:
    answer = httpx.get(f"{tenants.api.url}/v1/info", headers={"Authorization": f"Bearer {key}".encode()})
    assert_problem(answer, 401, "unauthorized")


def test_an_expired_key_is_refused_and_told(tenants: Tenants) -> None:
    with tenants.client(tenants.key("first", expires_at=datetime.now(UTC) + timedelta(seconds=1.5))) as client:
        assert client.get("/v1/info").status_code == 200
        answer = wait_for(lambda: (got := client.get("/v1/info")).status_code != 200 and got, what="the end of the key")
    assert isinstance(answer, httpx.Response)
    assert "expired at" in assert_problem(answer, 401, "unauthorized")["detail"]
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_a_revoked_key_is_refused_within_seconds(tenants: Tenants) -> None:
    key, record = tenants.keys.create("first", ["read"])
    with tenants.client(key) as client:
        assert client.get("/v1/info").status_code == 200
        tenants.keys.revoke(record.id)
        wait_for(lambda: client.get("/v1/info").status_code == 401, 3, "the revocation")
        assert "was revoked at" in client.get("/v1/info").json()["detail"]


def test_a_key_made_while_the_service_runs_is_known(tenants: Tenants) -> None:
    key = "m3r_guessed"
    with tenants.client(key) as client:
        assert client.get("/v1/info").status_code == 401  # now it is remembered as unknown
    with tenants.client(tenants.key("first")) as client:
        assert client.get("/v1/info").status_code == 200


def test_the_first_key_closes_a_service_and_revoking_it_does_not_open_it(api: Api) -> None:
    job_id = api.new_job()["id"]
    store = KeyStore(api.objects)
    key, record = store.create("default", ["read"])
    wait_for(lambda: api.http.get("/v1/info").status_code == 401, 5, "the end of the open service")
    seen = api.http.get(f"/v1/jobs/{job_id}", headers=bearer(key))  # what was made before belongs to the tenant `default`
    assert seen.status_code == 200
    store.revoke(record.id)
    time.sleep(0.5)
    assert api.http.get("/v1/info").status_code == 401
    with open_api(api.settings) as restarted:
        assert restarted.http.get("/v1/info").status_code == 401


def test_an_open_service_beyond_the_loopback_answers_nobody(settings: Settings) -> None:
    with open_api(settings.model_copy(update={"host": "0.0.0.0"})) as exposed:
        assert "m3r keys create" in assert_problem(exposed.http.get("/v1/info"), 401, "unauthorized")["detail"]
        assert exposed.http.get("/healthz/live").status_code == 200
        key, _ = KeyStore(exposed.objects).create("default", ["read"])
        wait_for(lambda: exposed.http.get("/v1/info", headers=bearer(key)).status_code == 200, 5, "the key")


def test_a_key_in_the_store_lets_the_service_listen_beyond_the_loopback(settings: Settings, tmp_path: Path) -> None:
    beyond = settings.model_copy(update={"host": "0.0.0.0"})
    with pytest.raises(OpenBindError, match="m3r keys create"):
        check_bind(beyond)
    KeyStore(DirectoryStore(tmp_path / "objects")).create("default", ["read"])
    check_bind(beyond)


def test_a_store_that_is_away_at_the_start_keeps_the_service_on_the_loopback(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise StorageUnavailable("no answer")

    monkeypatch.setattr(DirectoryStore, "list_folders", refuse)
    with pytest.raises(OpenBindError, match="does not answer"):
        check_bind(settings.model_copy(update={"host": "0.0.0.0"}))


def test_known_keys_work_on_while_the_store_is_away(tenants: Tenants) -> None:
    assert tenants.first.get("/v1/info").status_code == 200
    unknown = tenants.key("first")
    folder = Path(tenants.api.settings.store.removeprefix("dir:"))
    moved = folder.rename(folder.with_name("away"))
    time.sleep(0.3)
    assert tenants.first.get("/v1/info").status_code == 200
    with tenants.client(unknown) as client:
        assert_problem(client.get("/v1/info"), 503, "storage_unavailable")
        assert_problem(httpx.get(f"{tenants.api.url}/v1/info"), 401, "unauthorized")
        shutil.rmtree(folder, ignore_errors=True)  # a probe may have made it again
        moved.rename(folder)
        wait_for(lambda: client.get("/v1/info").status_code == 200, 5, "the store")


def test_a_service_whose_store_is_away_does_not_take_itself_for_open(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise StorageUnavailable("no answer")

    KeyStore(DirectoryStore(settings.store.removeprefix("dir:"))).create("default", ["read"])
    monkeypatch.setattr(DirectoryStore, "list_folders", refuse)
    with open_api(settings) as opened:
        assert_problem(opened.http.get("/v1/info"), 503, "storage_unavailable")


def test_keys_survive_an_empty_redis(settings: Settings) -> None:
    with open_tenants(settings) as opened:
        redis = opened.api.store.redis
        for key in redis.scan_iter(settings.key_prefix + "*"):
            redis.delete(key)
        assert opened.first.get("/v1/info").status_code == 200
        with open_api(settings) as restarted:
            headers = dict(opened.first.headers)
            assert restarted.http.get("/v1/info", headers=headers).status_code == 200
            assert restarted.http.get("/v1/info").status_code == 401


def test_many_requests_ask_the_store_once(tenants: Tenants, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "FRESH_S", 60.0)
    asked: list[str] = []
    find = KeyStore.find

    def count(self: KeyStore, sha256: str) -> Any:
        asked.append(sha256)
        return find(self, sha256)

    monkeypatch.setattr(KeyStore, "find", count)
    with open_tenants(tenants.api.settings) as opened:
        for _ in range(30):
            assert opened.first.get("/v1/info").status_code == 200
        assert len(asked) == 1
