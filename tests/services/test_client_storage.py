"""The Python client where artefacts lie in a real S3 server, and with keys that end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from m3r_client import Client, Forbidden, RateLimited, RetryPolicy, Unauthorized
from services.adapters.key_store import KeyStore
from services.adapters.objects import open_store
from tests.services.api_stand import good_photos, open_api
from tests.services.conftest import make_settings
from tests.services.service_stand import wait_for

QUICK = RetryPolicy(first_s=0.02, longest_s=0.3, patience_s=20.0)
FILES = {"scene.ply": bytes(range(256)) * 2000, "poses.json": b"{}"}


def test_presigned_downloads_go_on_where_they_were_left(redis_server: Any, s3_server: dict[str, Any], tmp_path: Path) -> None:
    settings = make_settings(redis_server.url, tmp_path, **{**s3_server, "store": "s3://m3r-tests/client"})
    with open_api(settings) as api, Client(api.url, retry=QUICK) as client:
        capture = client.upload(good_photos(3))
        assert len(client.upload(good_photos(3), resume=capture.id).images) == 3
        job = client.submit(capture.id)
        api.finish(job.id, FILES)
        sha256 = {file.name: file.sha256 for file in client.artifacts(job.id)}["scene.ply"]
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / f".scene.ply.{sha256[:16]}.part").write_bytes(FILES["scene.ply"][:300_000])
        heard: list[float] = []
        client.download(job.id, tmp_path / "out", on_progress=lambda progress: heard.append(progress.fraction))
        assert heard == sorted(heard)  # nothing came twice: the store took the range
        assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == FILES
        client.delete(job.id)
        client.delete(job.id)  # an answer may get lost


def test_keys_that_end_or_may_little_are_told_by_name(redis_server: Any, tmp_path: Path) -> None:
    settings = make_settings(redis_server.url, tmp_path)
    store = KeyStore(open_store(settings))
    soon = datetime.now(UTC) + timedelta(seconds=3)
    key, record = store.create("north", ["read", "write"], expires_at=soon)
    reader, _ = store.create("north", ["read"])
    with open_api(settings) as api, Client(api.url, reader, retry=QUICK) as other, Client(api.url, key, retry=QUICK) as client:
        job = client.submit(client.upload(good_photos(2)).id)
        with pytest.raises(Forbidden, match="'write'"):
            other.cancel(job.id)
        wait_for(lambda: datetime.now(UTC) > soon, what="the key's end")
        api.finish(job.id, FILES)
        with pytest.raises(Unauthorized, match="expired"):
            client.download(job.id, tmp_path / "out")
        assert other.job(job.id).succeeded
        assert record.expires_at == soon


def test_a_rate_limit_slows_uploads_and_fails_none(redis_server: Any, tmp_path: Path) -> None:
    settings = make_settings(redis_server.url, tmp_path, rates={"write": "6/second"})
    with open_api(settings) as api:
        refused = [api.http.post("/v1/captures").status_code for _ in range(12)]
        assert 429 in refused  # it is a limit
        with Client(api.url, retry=QUICK) as client:
            capture = client.upload(good_photos(14))
    assert len(capture.images) == 14


def test_a_quota_is_told_by_its_name(redis_server: Any, tmp_path: Path) -> None:
    settings = make_settings(redis_server.url, tmp_path, max_tenant_jobs=1)
    with open_api(settings) as api, Client(api.url, retry=QUICK) as client:
        capture = client.upload(good_photos(2))
        client.submit(capture.id)
        impatient = RetryPolicy(patience_s=1.0)
        with Client(api.url, retry=impatient) as other, pytest.raises(RateLimited) as caught:
            other.submit(capture.id)
        assert caught.value.code == "quota_exceeded"
        assert caught.value.retry_after
