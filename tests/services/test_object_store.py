"""Both object stores against one set of expectations: a directory, and a real S3 server."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.adapters.directory import DirectoryStore
from services.adapters.objects import (
    InvalidKey,
    ObjectExists,
    ObjectNotFound,
    ObjectStore,
    OutOfSpace,
    StorageUnavailable,
    StoredObject,
    open_store,
)
from services.adapters.settings import Settings

DATA = bytes(range(256)) * 40


@pytest.fixture(params=["directory", "s3"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "directory":
        yield open_store(Settings(store=f"dir:{tmp_path}", min_free_disk_bytes=0))
    else:
        values: dict[str, Any] = dict(request.getfixturevalue("s3_server"))
        values["store"] += f"/{tmp_path.name}"
        yield open_store(Settings(**values))


def stored(key: str, data: bytes) -> StoredObject:
    return StoredObject(key, len(data), hashlib.sha256(data).hexdigest())


def test_what_is_put_is_read_whole_and_in_ranges(any_store: ObjectStore) -> None:
    assert any_store.stat("captures/c/images/ä b.jpg") is None
    assert any_store.put("captures/c/images/ä b.jpg", DATA, "image/jpeg") == stored("captures/c/images/ä b.jpg", DATA)
    assert any_store.stat("captures/c/images/ä b.jpg") == stored("captures/c/images/ä b.jpg", DATA)
    assert any_store.read("captures/c/images/ä b.jpg") == DATA
    for start, end in [(0, 1), (5, 300), (255, None), (len(DATA) - 1, len(DATA)), (3, 3)]:
        assert b"".join(any_store.open_range("captures/c/images/ä b.jpg", start, end)) == DATA[start:end], (start, end)


def test_put_replaces_and_if_absent_refuses(any_store: ObjectStore) -> None:
    any_store.put("a/x", io.BytesIO(b"first"))
    any_store.put("a/x", io.BytesIO(b"other"))
    assert any_store.stat("a/x") == stored("a/x", b"other")
    with pytest.raises(ObjectExists):
        any_store.put("a/x", b"third", if_absent=True)
    assert any_store.read("a/x") == b"other"
    assert any_store.put("a/y", b"new", if_absent=True) == stored("a/y", b"new")


def test_lists_folders_and_deletes_below_a_prefix(any_store: ObjectStore) -> None:
    for key in ("jobs/a/1", "jobs/a/2/x", "jobs/ab/1", "jobs/b/1", "other/1"):
        any_store.put(key, key.encode())
    assert [entry.key for entry in any_store.list("jobs/a/")] == ["jobs/a/1", "jobs/a/2/x"]
    assert list(any_store.list_folders("jobs/")) == ["a", "ab", "b"]
    assert any_store.delete_prefix("jobs/a/") == 2
    assert any_store.delete_prefix("jobs/a/") == 0
    assert list(any_store.list("jobs/a/")) == []
    assert set(any_store.list_folders("jobs/")) - {"a"} == {"ab", "b"}
    any_store.delete("jobs/ab/1")
    any_store.delete("jobs/ab/1")
    assert any_store.stat("jobs/ab/1") is None
    assert any_store.read("jobs/b/1") == b"jobs/b/1"
    assert any_store.read("other/1") == b"other/1"
    assert list(any_store.list("nothing/")) == []


def test_what_is_not_there_is_named(any_store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFound, match="no/such"):
        any_store.read("no/such")
    with pytest.raises(ObjectNotFound):
        any_store.open_range("no/such", 5, 9)


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a/../../b", "..", "a//b", "a/", "a\0b", "a\\b", "./a", "a\nb", "x" * 901])
def test_keys_that_lead_elsewhere_are_refused(any_store: ObjectStore, key: str) -> None:
    with pytest.raises(InvalidKey):
        any_store.put(key, b"x")
    with pytest.raises(InvalidKey):
        any_store.stat(key)


def test_a_large_object_arrives_whole(any_store: ObjectStore) -> None:
    data = os.urandom(2**20) * 20  # more than one part of a multipart upload
    assert any_store.put("big", io.BytesIO(data)) == stored("big", data)
    assert any_store.stat("big") == stored("big", data)
    assert b"".join(any_store.open_range("big", 17 * 2**20 - 3, 17 * 2**20 + 3)) == data[17 * 2**20 - 3 : 17 * 2**20 + 3]


def test_check_passes_while_the_store_answers(any_store: ObjectStore) -> None:
    any_store.check()


def test_presigned_url_reads_without_credentials_and_a_changed_one_does_not(any_store: ObjectStore) -> None:
    any_store.put("p/scene.ply", DATA)
    url = any_store.presign("p/scene.ply", 60, "scene.ply")
    if isinstance(any_store, DirectoryStore):
        assert url is None
        return
    assert url is not None
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Range": "bytes=10-19"})) as answer:
        assert answer.read() == DATA[10:20]
        assert answer.headers["Content-Disposition"] == 'attachment; filename="scene.ply"'
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url.replace("scene.ply?", "other.ply?"))
    assert refused.value.code == 403


def test_an_absent_s3_server_is_told_as_unavailable() -> None:
    gone = open_store(Settings(store="s3://m3r-tests", s3_endpoint="http://127.0.0.1:9", s3_access_key="a", s3_secret_key="b"))
    with pytest.raises(StorageUnavailable):
        gone.read("x")
    with pytest.raises(StorageUnavailable):
        gone.check()


def test_directory_refuses_links_that_lead_out(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "store"
    outside.mkdir()
    inside.mkdir()
    (outside / "secret").write_text("secret")
    (inside / "folder").symlink_to(outside)
    (inside / "file").symlink_to(outside / "secret")
    directory = DirectoryStore(inside)
    for key in ("folder/secret", "file"):
        with pytest.raises(InvalidKey):
            directory.read(key)
        with pytest.raises(InvalidKey):
            directory.put(key, b"changed")
    assert (outside / "secret").read_text() == "secret"


def test_directory_refuses_when_the_disk_is_nearly_full(tmp_path: Path) -> None:
    directory = DirectoryStore(tmp_path, min_free_bytes=2**60)
    with pytest.raises(OutOfSpace):
        directory.put("a", b"x")
    with pytest.raises(OutOfSpace):
        directory.check()
    assert list(tmp_path.iterdir()) == []


def test_directory_tells_a_full_disk_and_leaves_nothing_behind(tmp_path: Path) -> None:
    class FullDisk(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(28, "No space left on device")

    directory = DirectoryStore(tmp_path)
    with pytest.raises(OutOfSpace):
        directory.put("a/b", FullDisk())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_directory_computes_the_sum_anew_when_the_file_was_changed(tmp_path: Path) -> None:
    directory = DirectoryStore(tmp_path)
    directory.put("a", b"12345")
    (tmp_path / "a").write_bytes(b"54321")
    assert directory.stat("a") == stored("a", b"54321")


def test_directory_readers_never_see_half_an_object(tmp_path: Path) -> None:
    directory = DirectoryStore(tmp_path)
    versions = [bytes([number]) * 300_000 for number in range(4)]
    directory.put("a", versions[0])
    stop, seen = threading.Event(), set()

    def read() -> None:
        while not stop.is_set():
            seen.add(directory.read("a"))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        directory.put("a", versions[number % 4])
    stop.set()
    reader.join()
    assert seen <= set(versions)


@pytest.mark.parametrize("text", ["", "dir:", "s3:bucket", "ftp://x"])
def test_a_store_that_is_not_known_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it must be dir:FOLDER or s3://BUCKET"):
        open_store(Settings(store=text))


def test_directory_that_is_gone_is_told_from_an_object_that_is_not_there(tmp_path: Path) -> None:
    directory = DirectoryStore(tmp_path / "store")
    with pytest.raises(ObjectNotFound):
        directory.read("a")
    (tmp_path / "store").rmdir()
    with pytest.raises(StorageUnavailable, match="mounted"):
        directory.read("a")
    with pytest.raises(StorageUnavailable):
        list(directory.list_folders("jobs/"))


def test_two_may_delete_the_same(any_store: ObjectStore) -> None:
    for round_number in range(4):
        for number in range(60):
            any_store.put(f"captures/{round_number}/entries/{number}.json", b"{}")
        faults: list[BaseException] = []

        def delete(prefix: str = f"captures/{round_number}/", faults: list[BaseException] = faults) -> None:
            try:
                any_store.delete_prefix(prefix)
            except Exception as error:
                faults.append(error)
            faults.extend(AssertionError(found.key) for found in any_store.list(prefix))

        both = [threading.Thread(target=delete) for _ in range(2)]
        for each in both:
            each.start()
        for each in both:
            each.join()
        assert faults == []
