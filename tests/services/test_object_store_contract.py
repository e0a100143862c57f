"""What both object stores promise beyond the everyday: odd names, parts, writers that race or break off, URLs, leftovers."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.adapters.directory import PART, DirectoryStore
from services.adapters.objects import ObjectExists, ObjectNotFound, ObjectStore, OutOfSpace, StorageUnavailable, open_store
from services.adapters.settings import Settings
from tests.services.s3_server import BUCKET, S3Server

ODD_NAMES = [
    "a b",
    "ä",
    "日本",
    "a+b",
    "a%20b",
    "a&b=c",
    "a#b",
    "a?b",
    "a'b",
    'a"b',
    "a;b",
    "a:b",
    "(x)",
    "[x]",
    "{x}",
    "<x>",
    "~x",
]
ODD_NAMES += ["a*b", "a|b", "a^b", "a`b", "$x", "!x", "a@b", "a,b", ".hidden", "a..b", " x", "x ", "x.", "\u00e9", "e\u0301"]
PART_BYTES = 5 * 2**20


@pytest.fixture(params=["directory", "s3"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    values: dict[str, Any] = {"store": f"dir:{tmp_path / 'objects'}", "min_free_disk_bytes": 0}
    if request.param == "s3":
        values = dict(request.getfixturevalue("s3_server"))
        values["store"] += f"/{tmp_path.name}"
    return open_store(Settings(s3_multipart_bytes=PART_BYTES, **values))


def fetch(url: str, **headers: str) -> tuple[int, bytes]:
    """Ask as a client without credentials."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


def test_odd_names_are_kept_apart(any_store: ObjectStore) -> None:
    for name in ODD_NAMES:
        any_store.put(f"odd/{name}/{name}", name.encode())
    assert [entry.key for entry in any_store.list("odd/")] == sorted(f"odd/{name}/{name}" for name in ODD_NAMES)
    assert sorted(any_store.list_folders("odd/")) == sorted(ODD_NAMES)
    for name in ODD_NAMES:
        assert any_store.read(f"odd/{name}/{name}") == name.encode()
        url = any_store.presign(f"odd/{name}/{name}", 60)
        assert url is None or fetch(url) == (200, name.encode())
    any_store.delete(f"odd/{ODD_NAMES[0]}/{ODD_NAMES[0]}")
    assert any_store.delete_prefix("odd/") == len(ODD_NAMES) - 1


def test_lists_in_the_order_of_the_keys(any_store: ObjectStore) -> None:
    keys = ["o/b", "o/a/x", "o/a.b", "o/a-b", "o/a0", "o/a/b/c", "o/B", "o/ä"]
    for key in keys:
        any_store.put(key, b"1")
    assert [entry.key for entry in any_store.list("o/")] == sorted(keys)


def test_the_end_of_an_object(any_store: ObjectStore) -> None:
    any_store.put("e/empty", b"")
    any_store.put("e/ten", b"0123456789")
    assert any_store.read("e/empty") == b""
    assert any_store.stat("e/empty") is not None
    for start, end, wanted in [(8, 99, b"89"), (10, 20, b""), (11, None, b""), (10, None, b"")]:
        assert b"".join(any_store.open_range("e/ten", start, end)) == wanted, (start, end)
    assert b"".join(any_store.open_range("e/empty", 0, 9)) == b""
    with pytest.raises(ObjectNotFound):
        any_store.open_range("e/none", 99)


def test_large_objects_go_in_parts_and_arrive_whole(
    any_store: ObjectStore, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    data = os.urandom(2 * PART_BYTES + 12345)
    stored = any_store.put("large", io.BytesIO(data), "application/ply")
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    assert any_store.stat("large") == stored
    assert hashlib.sha256(any_store.read("large")).hexdigest() == stored.sha256
    if isinstance(any_store, DirectoryStore):
        return
    server: S3Server = request.getfixturevalue("s3_process")
    head = server.client().head_object(Bucket=BUCKET, Key=f"{tmp_path.name}/large")
    assert head["ETag"].strip('"').endswith("-3"), "three parts"
    assert head["ContentType"] == "application/ply"


class Broken(io.BytesIO):
    """A source that fails in its middle."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 2**20:
            raise ConnectionResetError("the client is gone")
        return super().read(2**20)


@pytest.mark.parametrize("size", [2**21, 2 * PART_BYTES], ids=["one piece", "parts"])
def test_a_writer_that_breaks_off_changes_nothing(any_store: ObjectStore, size: int) -> None:
    any_store.put("w/old", b"old")
    for key in ("w/old", "w/new"):
        with pytest.raises(StorageUnavailable):
            any_store.put(key, Broken(bytes(size)))
    assert [entry.key for entry in any_store.list("w/")] == ["w/old"]
    assert any_store.read("w/old") == b"old"


class FullDisk(io.BytesIO):
    """A source whose temporary file finds no room."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_without_room_is_told(any_store: ObjectStore) -> None:
    with pytest.raises(OutOfSpace):
        any_store.put("full/a", FullDisk())
    assert list(any_store.list("full/")) == []


def test_of_writers_that_race_one_wins_whole(any_store: ObjectStore) -> None:
    versions = [bytes([number]) * 200_000 for number in range(8)]
    _all_at_once(*(lambda data=data: any_store.put("race", io.BytesIO(data)) for data in versions))  # type: ignore[misc]
    data = any_store.read("race")
    assert data in versions
    stored = any_store.stat("race")
    assert stored is not None
    assert stored.sha256 == hashlib.sha256(data).hexdigest()


def test_of_writers_that_want_a_free_name_one_gets_it(any_store: ObjectStore) -> None:
    won: list[bytes] = []

    def write(data: bytes) -> None:
        try:
            any_store.put("free", data, if_absent=True)
        except ObjectExists:
            return
        won.append(data)

    _all_at_once(*(lambda n=n: write(bytes([n]) * 1000) for n in range(8)))  # type: ignore[misc]
    assert len(won) == 1
    assert any_store.read("free") == won[0]


def test_an_object_that_another_hand_wrote_has_its_sum(
    any_store: ObjectStore, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if isinstance(any_store, DirectoryStore):
        (any_store.root / "other").write_bytes(b"12345")
    else:
        server: S3Server = request.getfixturevalue("s3_process")
        server.client().put_object(Bucket=BUCKET, Key=f"{tmp_path.name}/other", Body=b"12345")
    stored = any_store.stat("other")
    assert stored is not None
    assert (stored.bytes, stored.sha256) == (5, hashlib.sha256(b"12345").hexdigest())


def test_presigned_urls_know_ranges_and_end(any_store: ObjectStore) -> None:
    any_store.put("p/a", bytes(range(100)), "application/ply")
    url = any_store.presign("p/a", 60)
    if isinstance(any_store, DirectoryStore):
        assert url is None
        assert any_store.presign_put("p/b", 60, 1, "0" * 64) is None
        return
    assert url is not None
    assert fetch(url, Range="bytes=10-19") == (206, bytes(range(10, 20)))
    assert fetch(url, Range="bytes=-5") == (206, bytes(range(95, 100)))
    assert fetch(url, Range="bytes=100-") == (416, b"")
    short = any_store.presign("p/a", 1)
    assert short is not None
    time.sleep(2.1)
    assert fetch(short) == (403, b"")


def test_what_dead_writers_left_is_removed_and_nothing_else(
    any_store: ObjectStore, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    any_store.put("jobs/a/scene.ply", b"ply")
    now = datetime.now(UTC)
    if isinstance(any_store, DirectoryStore):
        (any_store.root / "jobs" / "a" / f"{PART}0123").write_bytes(b"half of a file")
    else:
        client = request.getfixturevalue("s3_process").client()
        key = f"{tmp_path.name}/jobs/a/large"
        upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=bytes(PART_BYTES))
    assert [entry.key for entry in any_store.list("jobs/")] == ["jobs/a/scene.ply"]
    assert any_store.remove_unfinished(now - timedelta(hours=1)) == 0, "its writer may live"
    assert any_store.remove_unfinished(now + timedelta(hours=1)) == 1
    assert any_store.remove_unfinished(now + timedelta(hours=1)) == 0
    assert any_store.read("jobs/a/scene.ply") == b"ply"


def _all_at_once(*works: Any) -> None:
    barrier = threading.Barrier(len(works))

    def run(work: Any) -> None:
        barrier.wait()
        work()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
