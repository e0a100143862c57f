"""Keys, tenants, links and thumbnails where the store is an S3: the same as over a directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.adapters.embedded import EmbeddedRedis
from services.api import keyring
from services.contract.access import TenantRecord
from tests.services.api_stand import assert_problem
from tests.services.conftest import make_settings
from tests.services.service_stand import wait_for
from tests.services.tenant_stand import Tenants, open_tenants


@pytest.fixture
def over_s3(
    redis_server: EmbeddedRedis, s3_server: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Tenants]:
    """An API over S3 with two tenants."""
    monkeypatch.setattr(keyring, "FRESH_S", 0.2)
    store = {**s3_server, "store": f"{s3_server['store']}/{tmp_path.name}"}
    with open_tenants(make_settings(redis_server.url, tmp_path, **store)) as opened:
        yield opened


def test_keys_and_tenants_over_s3(over_s3: Tenants) -> None:
    assert over_s3.keys.any()
    assert sorted(record.tenant for record in over_s3.keys.list()) == ["first", "second"]
    assert over_s3.keys.tenant("first") == TenantRecord(name="first")
    over_s3.keys.set_tenant(TenantRecord(name="first", max_jobs=0))
    wait_for(lambda: over_s3.first.get("/v1/info").json()["tenant"]["max_jobs"] == 0, 10, "the quota")
    (record,) = over_s3.keys.list("second")
    assert over_s3.second.get("/v1/info").status_code == 200
    over_s3.keys.revoke(record.id)
    wait_for(lambda: over_s3.second.get("/v1/info").status_code == 401, 5, "the revocation")


def test_a_browser_follows_signed_links_into_s3(over_s3: Tenants) -> None:
    job_id = over_s3.api.new_job()["id"]
    over_s3.api.finish(job_id, {"scene.ply": b"ply\n" * 100})
    assert_problem(over_s3.second.get(f"/v1/jobs/{job_id}/links"), 404, "not_found")
    links = over_s3.first.get(f"/v1/jobs/{job_id}/links").json()
    with httpx.Client(follow_redirects=True, timeout=30) as browser:
        assert browser.get(links["artifacts"]["scene.ply"]).content == b"ply\n" * 100
        first, again = (browser.get(links["thumbnails"]["photo_0.jpg"]) for _ in range(2))
        assert first.headers["content-type"] == "image/jpeg"
        assert first.content == again.content  # made, then read
        assert browser.get(links["archive"]).content.startswith(b"PK")
