"""The Python client while connections are cut, bytes altered, the service restarted and the client killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from m3r_client import AsyncClient, Client, ConnectionLost, CorruptDownload, Progress, RetryPolicy, Unavailable
from tests.clients.conftest import QUICK, RESULT
from tests.clients.flaky_proxy import FlakyProxy, flip_last_byte, repeated
from tests.services.api_stand import Api, serve
from tests.services.bad_files import encode, text_as_photo
from tests.services.service_stand import wait_for

pytestmark = pytest.mark.timeout(180)


def noisy_photos(count: int) -> list[tuple[str, bytes]]:
    """Photographs of about 100 kB, which take several packets."""
    draw = np.random.default_rng(5)
    return [
        (f"photo_{n}.png", encode(Image.fromarray(draw.integers(0, 255, (160, 220, 3), dtype=np.uint8)), "PNG"))
        for n in range(count)
    ]


def no_part_left(folder: Path) -> bool:
    return not list(folder.rglob("*.part"))


def test_uploads_survive_cut_connections(flaky_client: Client, proxy: FlakyProxy) -> None:
    photos = noisy_photos(5)
    proxy.cuts_up = repeated(2000, 7)
    capture = flaky_client.upload(photos)
    assert proxy.cut == 7
    assert proxy.cuts_up == []
    assert {image.name: image.bytes for image in capture.images} == {name: len(data) for name, data in photos}


def test_a_photograph_altered_on_its_way_is_sent_again(flaky_client: Client, proxy: FlakyProxy) -> None:
    (photo,) = noisy_photos(1)
    proxy.alter_up = [flip_last_byte]
    capture = flaky_client.upload([photo])
    assert proxy.alter_up == []
    assert proxy.up_bytes > 2 * len(photo[1])  # it went twice
    assert capture.images[0].bytes == len(photo[1])


def test_the_asynchronous_client_survives_as_well(api: Api, proxy: FlakyProxy, worker: None, tmp_path: Path) -> None:
    async def whole_way() -> None:
        async with AsyncClient(proxy.url, retry=QUICK) as client:
            proxy.cuts_up = repeated(1000, 3)
            result = await client.reconstruct(noisy_photos(3))
            proxy.cuts_down = repeated(8000, 4)
            await client.download(result.job.id, tmp_path)

    asyncio.run(whole_way())
    assert proxy.cut == 7
    assert (tmp_path / "scene.ply").read_bytes() == RESULT["scene.ply"]
    assert no_part_left(tmp_path)


def test_downloads_go_on_where_they_broke_off(api: Api, flaky_client: Client, proxy: FlakyProxy, tmp_path: Path) -> None:
    job = api.new_job()
    api.finish(job["id"], RESULT)
    proxy.cuts_down = repeated(20_000, 5)
    heard: list[Progress] = []
    flaky_client.download(job["id"], tmp_path, on_progress=heard.append)
    assert proxy.cut == 5
    assert (tmp_path / "scene.ply").read_bytes() == RESULT["scene.ply"]
    assert no_part_left(tmp_path)
    assert [each.fraction for each in heard] == sorted(each.fraction for each in heard)  # nothing came twice


def test_what_a_killed_process_left_of_a_download_is_used(api: Api, client: Client, tmp_path: Path) -> None:
    job = api.new_job()
    api.finish(job["id"], RESULT)
    sha256 = next(each.sha256 for each in client.artifacts(job["id"]) if each.name == "scene.ply")
    part = tmp_path / f".scene.ply.{sha256[:16]}.part"
    part.write_bytes(RESULT["scene.ply"][:500_000])
    first: list[Progress] = []
    client.download(job["id"], tmp_path, names=["scene.ply"], on_progress=first.append)
    assert first[0].fraction == pytest.approx(500_000 / len(RESULT["scene.ply"]))
    assert (tmp_path / "scene.ply").read_bytes() == RESULT["scene.ply"]
    (tmp_path / "scene.ply").write_bytes(b"damaged")
    part.write_bytes(b"\0" * 600_000)  # not the beginning of it: found at the end, fetched anew
    client.download(job["id"], tmp_path)
    assert (tmp_path / "scene.ply").read_bytes() == RESULT["scene.ply"]
    assert no_part_left(tmp_path)


def test_wrong_bytes_are_fetched_once_more_and_then_refused(
    api: Api, flaky_client: Client, proxy: FlakyProxy, tmp_path: Path
) -> None:
    job = api.new_job()
    api.finish(job["id"], RESULT)
    proxy.alter_down = [flip_last_byte]
    flaky_client.download(job["id"], tmp_path / "once")
    assert (tmp_path / "once" / "scene.ply").read_bytes() == RESULT["scene.ply"]
    result = api.record(job["id"]).result
    assert result is not None
    api.objects.put(f"jobs/{job['id']}/attempts/{result.token}/scene.ply", RESULT["scene.ply"][:-1] + b"?")
    with pytest.raises(CorruptDownload, match=r"scene\.ply: SHA-256"):
        flaky_client.download(job["id"], tmp_path / "twice", names=["scene.ply"])
    assert not (tmp_path / "twice" / "scene.ply").exists()
    assert no_part_left(tmp_path)


def test_events_are_taken_up_after_a_cut(api: Api, flaky_client: Client, proxy: FlakyProxy) -> None:
    job = api.new_job()
    token = api.claim(job["id"])
    seen = []
    for event in flaky_client.events(job["id"]):
        seen.append(event)
        if len(seen) == 1:
            proxy.cut_all()
            api.progress(job["id"], token, 0.25)
        elif event.event == "progress":
            api.commit(job["id"], token, RESULT)
    assert [event.event for event in seen] == ["job", "progress", "status"]
    assert seen[-1].terminal
    assert len({event.id for event in seen}) == 3


def test_a_restarted_service_is_waited_for(settings: object, tmp_path: Path, worker: None, api: Api) -> None:
    with FlakyProxy(1) as proxy, Client(proxy.url, retry=QUICK) as client:  # nothing listens on port 1
        done: list[object] = []
        thread = threading.Thread(target=lambda: done.append(client.reconstruct(noisy_photos(2), out=tmp_path)))
        thread.start()
        time.sleep(0.3)
        assert thread.is_alive()
        with serve(api.settings) as first:
            proxy.target_port = int(first.rpartition(":")[2])
            wait_for(lambda: list(api.stored("captures/")), what="the first photograph")
        with serve(api.settings) as second:
            proxy.target_port = int(second.rpartition(":")[2])
            thread.join(60)
        assert not thread.is_alive()
    assert len(done) == 1
    assert (tmp_path / "scene.ply").read_bytes() == RESULT["scene.ply"]
    assert len(list(api.store.list("default")[0])) == 1


def test_patience_ends_with_a_named_error() -> None:
    little = RetryPolicy(first_s=0.01, longest_s=0.05, patience_s=0.3)
    began = time.monotonic()
    with Client("http://127.0.0.1:1", retry=little) as client, pytest.raises(ConnectionLost, match="GET /v1/info"):
        client.info()
    assert time.monotonic() - began < 20


def test_a_service_whose_store_is_away_is_asked_again(api: Api, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.adapters.capture_store import CaptureStore
    from services.adapters.objects import StorageUnavailable

    create, failures = CaptureStore.create, [StorageUnavailable("away"), StorageUnavailable("away")]

    def fail_twice(self: CaptureStore, *arguments: object) -> object:
        if failures:
            raise failures.pop()
        return create(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(CaptureStore, "create", fail_twice)
    little = RetryPolicy(first_s=0.01, longest_s=0.05, patience_s=1.0)
    with Client(api.url, retry=little) as hasty, pytest.raises(Unavailable) as caught:
        hasty.upload(noisy_photos(1))
    assert caught.value.retry_after == 5  # longer than this client is patient: told at once
    assert len(client.upload(noisy_photos(1)).images) == 1
    assert failures == []


KILLED = """
import os, sys
from m3r_client import Client
def stop(progress):
    print(progress.capture_id, flush=True)
    if progress.phase == sys.argv[3]:
        if progress.fraction >= 0.4 or progress.phase == "job":
            os._exit(9)
Client(sys.argv[1]).reconstruct(sys.argv[2], parallel=1, on_progress=stop)
"""


@pytest.mark.parametrize("phase", ["upload", "job"])
def test_a_killed_client_goes_on_and_makes_no_second_job(
    phase: str, api: Api, flaky_client: Client, proxy: FlakyProxy, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    photos = noisy_photos(4)
    for name, data in photos:
        (folder / name).write_bytes(data)
    (folder / "zzz.jpg").write_bytes(text_as_photo())  # left out each time, also when the capture takes no more
    command = [sys.executable, "-c", KILLED, api.url, str(folder), phase]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert killed.returncode == 9, killed.stderr
    capture_id = killed.stdout.split()[0]
    before = {image.name for image in flaky_client.capture(capture_id).images}
    assert len(before) == (2 if phase == "upload" else 4)

    done: list[object] = []
    resume = threading.Thread(target=lambda: done.append(flaky_client.reconstruct(folder, resume=capture_id)))
    resume.start()
    job_id = wait_for(lambda: api.store.list("default")[0] or None, what="a job")[0].id
    api.finish(job_id, RESULT)
    resume.join(60)
    assert len(done) == 1
    missing = sum(len(data) for name, data in photos if name not in before)
    assert missing <= proxy.up_bytes < missing + 30_000  # what was there was not sent again
    assert len(api.store.list("default")[0]) == 1
