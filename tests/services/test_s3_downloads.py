"""Results over S3: the API points to the store, where ranges work and credentials are not needed."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.adapters.embedded import EmbeddedRedis
from tests.services.api_stand import Api, open_api
from tests.services.conftest import make_settings

PLY = bytes(range(256)) * 1000


@pytest.fixture
def over_s3(redis_server: EmbeddedRedis, s3_server: dict[str, Any], tmp_path: Path) -> Iterator[Api]:
    """An API over S3."""
    store = {**s3_server, "store": f"{s3_server['store']}/{tmp_path.name}"}
    with open_api(make_settings(redis_server.url, tmp_path, **store)) as opened:
        yield opened


def test_an_artefact_is_fetched_from_the_store_in_ranges(over_s3: Api) -> None:
    job = over_s3.new_job()
    over_s3.finish(job["id"], {"scene.ply": PLY, "poses.json": b"{}"})
    path = f"/v1/jobs/{job['id']}/artifacts/scene.ply"
    answer = over_s3.http.get(path)
    assert (answer.status_code, answer.content) == (307, b"")
    assert answer.headers["cache-control"] == "no-store", "the URL in it expires"
    url = answer.headers["location"]
    whole = httpx.get(url)
    assert (whole.status_code, whole.content) == (200, PLY)
    assert whole.headers["content-disposition"] == 'attachment; filename="scene.ply"'
    part = httpx.get(url, headers={"Range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, PLY[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(PLY)}"
    followed = over_s3.http.get(path, headers={"Range": "bytes=-5"}, follow_redirects=True)
    assert (followed.status_code, followed.content) == (206, PLY[-5:])


def test_head_is_answered_here_since_the_url_is_signed_for_get(over_s3: Api) -> None:
    job = over_s3.new_job()
    over_s3.finish(job["id"], {"scene.ply": PLY})
    answer = over_s3.http.head(f"/v1/jobs/{job['id']}/artifacts/scene.ply", follow_redirects=True)
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(PLY)))
    etag = answer.headers["etag"]
    path = f"/v1/jobs/{job['id']}/artifacts/scene.ply"
    assert over_s3.http.get(path, headers={"If-None-Match": etag}).status_code == 304


def test_the_zip_is_streamed_out_of_the_store(over_s3: Api) -> None:
    job = over_s3.new_job()
    over_s3.finish(job["id"], {"scene.ply": PLY, "poses.json": b"{}"})
    answer = over_s3.http.get(f"/v1/jobs/{job['id']}/artifacts.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.read("scene.ply") == PLY
