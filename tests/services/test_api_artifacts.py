"""Results over HTTP: list, bytes, ranges, digests, presigned redirects, one zip."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from services.adapters.directory import DirectoryStore
from services.contract.ids import new_id
from tests.services.api_stand import Api, api, assert_problem
from tests.services.bad_files import noise

__all__ = ["api"]

DATA = noise(3_000_000, 7)
FILES = {"scene.ply": DATA, "poses.json": b'{"schema_version": 1}', "sparse/0/caméras.bin": b"123"}


@pytest.fixture
def done(api: Api) -> str:
    """A job with a result."""
    job_id: str = api.new_job()["id"]
    api.finish(job_id, FILES)
    return job_id


def test_the_list_tells_size_digest_and_place(api: Api, done: str) -> None:
    listed = api.http.get(f"/v1/jobs/{done}/artifacts").json()
    assert [each["name"] for each in listed] == list(FILES)
    for each in listed:
        assert set(each) == {"name", "media_type", "bytes", "sha256", "url"}
        data = api.http.get(each["url"]).content
        assert data == FILES[each["name"]]
        assert (len(data), hashlib.sha256(data).hexdigest()) == (each["bytes"], each["sha256"])


def test_a_job_without_result_has_no_files(api: Api) -> None:
    job_id = api.new_job()["id"]
    assert api.http.get(f"/v1/jobs/{job_id}/artifacts").json() == []
    assert "it is queued" in assert_problem(api.http.get(f"/v1/jobs/{job_id}/artifacts/scene.ply"), 404, "not_found")["detail"]
    assert_problem(api.http.get(f"/v1/jobs/{job_id}/artifacts.zip"), 404, "not_found")


def test_files_of_an_attempt_that_was_not_published_cannot_be_read(api: Api, done: str) -> None:
    api.objects.put(f"jobs/{done}/attempts/other/secret.bin", b"lost attempt")
    assert_problem(api.http.get(f"/v1/jobs/{done}/artifacts/secret.bin"), 404, "not_found")
    for name in ("..%2Fother%2Fsecret.bin", "../../job.json", "%2e%2e/%2e%2e/job.json"):
        assert_problem(api.http.get(f"/v1/jobs/{done}/artifacts/{name}"), 404, "not_found")


def test_headers_of_a_file(api: Api, done: str) -> None:
    answer = api.http.get(f"/v1/jobs/{done}/artifacts/scene.ply")
    digest = hashlib.sha256(DATA)
    assert answer.headers["etag"] == f'"{digest.hexdigest()}"'
    assert answer.headers["content-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(DATA))
    assert 'filename="scene.ply"' in answer.headers["content-disposition"]
    unusual = api.http.get(f"/v1/jobs/{done}/artifacts/sparse/0/caméras.bin")
    assert unusual.content == b"123"
    assert "filename*=UTF-8''cam%C3%A9ras.bin" in unusual.headers["content-disposition"]


@pytest.mark.parametrize(
    ("range_", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=2999990-", 2_999_990, 3_000_000),
        ("bytes=-10", 2_999_990, 3_000_000),
        ("bytes=-99999999", 0, 3_000_000),
        ("bytes=0-99999999", 0, 3_000_000),
        ("Bytes = 0-0".replace(" ", ""), 0, 1),
    ],
)
def test_ranges(api: Api, done: str, range_: str, start: int, end: int) -> None:
    answer = api.http.get(f"/v1/jobs/{done}/artifacts/scene.ply", headers={"Range": range_})
    assert answer.status_code == 206
    assert answer.content == DATA[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    assert "content-digest" not in answer.headers  # it would be the digest of the part
    assert answer.headers["repr-digest"].startswith("sha-256=:")


@pytest.mark.parametrize("range_", ["bytes=3000000-", "bytes=-0", "bytes=9999999-99999999"])
def test_ranges_beyond_the_file(api: Api, done: str, range_: str) -> None:
    answer = api.http.get(f"/v1/jobs/{done}/artifacts/scene.ply", headers={"Range": range_})
    assert_problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize("range_", ["bytes=0-1,5-6", "lines=0-1", "bytes=5-2", "bytes=a-b", "bytes=-"])
def test_ranges_that_are_ignored(api: Api, done: str, range_: str) -> None:
    answer = api.http.get(f"/v1/jobs/{done}/artifacts/scene.ply", headers={"Range": range_})
    assert (answer.status_code, len(answer.content)) == (200, len(DATA))


def test_if_range_and_if_none_match(api: Api, done: str) -> None:
    path = f"/v1/jobs/{done}/artifacts/scene.ply"
    etag = api.http.head(path).headers["etag"]
    same = api.http.get(path, headers={"Range": "bytes=0-9", "If-Range": etag})
    assert (same.status_code, same.content) == (206, DATA[:10])
    other = api.http.get(path, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (other.status_code, len(other.content)) == (200, len(DATA))
    unchanged = api.http.get(path, headers={"If-None-Match": f'"x", {etag}'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_head(api: Api, done: str) -> None:
    for path in ("scene.ply", "poses.json"):
        get, head = (api.http.request(method, f"/v1/jobs/{done}/artifacts/{path}") for method in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (200, b"")
        assert {k: v for k, v in head.headers.items() if k not in ("date", "x-request-id")} == {
            k: v for k, v in get.headers.items() if k not in ("date", "x-request-id")
        }
    zip_head = api.http.head(f"/v1/jobs/{done}/artifacts.zip")
    assert int(zip_head.headers["content-length"]) == len(api.http.get(f"/v1/jobs/{done}/artifacts.zip").content)


def test_one_zip(api: Api, done: str) -> None:
    answer = api.http.get(f"/v1/jobs/{done}/artifacts.zip")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-length"] == str(len(answer.content))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES


def test_a_store_that_presigns_is_redirected_to(api: Api, done: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def presign(self: Any, key: str, expires_s: float, download_name: str | None = None) -> str:
        return f"http://s3.example/{key}?sig=1&name={download_name}"

    monkeypatch.setattr(DirectoryStore, "presign", presign)
    answer = api.http.get(f"/v1/jobs/{done}/artifacts/scene.ply")
    assert answer.status_code == 307
    token = api.record(done).attempts[-1].token
    assert answer.headers["location"] == f"http://s3.example/jobs/{done}/attempts/{token}/scene.ply?sig=1&name=scene.ply"


def test_a_file_that_is_gone_from_the_store(api: Api, done: str, tmp_path: Path) -> None:
    token = api.record(done).attempts[-1].token
    api.objects.delete(f"jobs/{done}/attempts/{token}/scene.ply")
    problem = assert_problem(api.http.get(f"/v1/jobs/{done}/artifacts/scene.ply"), 503, "storage_unavailable")
    assert token not in str(problem)
    assert str(tmp_path) not in str(problem)


def test_unknown_files(api: Api, done: str) -> None:
    assert "scene.ply" in assert_problem(api.http.get(f"/v1/jobs/{done}/artifacts/scene.obj"), 404, "not_found")["detail"]
    assert_problem(api.http.get(f"/v1/jobs/{new_id('job')}/artifacts/scene.ply"), 404, "not_found")
