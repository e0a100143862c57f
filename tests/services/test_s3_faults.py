"""An S3 that goes away, stalls, is slow or cuts connections in the middle of uploads and jobs, and comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.adapters.embedded import EmbeddedRedis
from services.adapters.objects import ObjectStore, StorageUnavailable, open_store
from services.contract.codes import JobErrorCode
from services.contract.keys import capture_image
from services.contract.states import JobStatus
from tests.services.api_stand import Api, assert_problem, good_photos, open_api
from tests.services.bad_files import photo
from tests.services.conftest import make_settings
from tests.services.invariants import check_job
from tests.services.s3_server import S3Server
from tests.services.service_stand import Stand, wait_for
from tests.services.tcp_proxy import TcpProxy
from tests.services.test_api_captures import new_capture, put
from tests.services.test_s3_uploads import begin, begun, complete, names, send

LARGE = photo(7, "PNG", (400, 400), compress_level=0)  # 480 kB
TIMEOUT_S = 1.0
ANSWERED_WITHIN_S = 30.0  # two tries of a few requests, each given up after the time-out


@pytest.fixture
def proxy(s3_process: S3Server) -> Iterator[TcpProxy]:
    """A proxy before the session's S3 server."""
    with TcpProxy(s3_process.port) as made:
        yield made


@pytest.fixture
def behind(redis_server: EmbeddedRedis, s3_server: dict[str, Any], proxy: TcpProxy, tmp_path: Path) -> Iterator[Api]:
    """An API whose store is behind the proxy; the test itself looks past it."""
    settings = make_settings(redis_server.url, tmp_path, **under(s3_server, tmp_path), s3_timeout_s=TIMEOUT_S)
    with open_api(settings.model_copy(update={"s3_endpoint": proxy.url})) as opened:
        opened.objects = open_store(settings)
        yield opened


def under(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {**settings, "store": f"{settings['store']}/{folder.name}"}


def in_background(work: Callable[[], httpx.Response]) -> Callable[[], httpx.Response]:
    """Ask in a thread; gives what waits for the answer."""
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(work()))
    thread.start()

    def answer() -> httpx.Response:
        thread.join(ANSWERED_WITHIN_S)
        assert answers, "no answer came"
        return answers[0]

    return answer


def assert_unavailable(answer: httpx.Response) -> None:
    problem = assert_problem(answer, 503, "storage_unavailable")
    assert problem["retryable"]
    assert float(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("how", ["away", "stalled"])
def test_a_store_that_fails_in_the_middle_of_an_upload_leaves_nothing_and_takes_it_later(
    behind: Api, proxy: TcpProxy, how: str
) -> None:
    capture = new_capture(behind)
    key = capture_image(capture, "a.png")
    begun = proxy.passed
    proxy.slow_down(400_000)
    answer = in_background(lambda: put(behind, capture, "a.png", LARGE))
    wait_for(lambda: proxy.passed - begun > len(LARGE) // 4, ANSWERED_WITHIN_S, "a part of the photograph")
    if how == "away":
        proxy.go_away()
    else:
        proxy.stall()
    assert behind.objects.stat(key) is None, "half of a photograph is not there"
    assert_unavailable(answer())
    if how == "away":
        assert_unavailable(put(behind, capture, "b.jpg", photo(1)))
        assert_unavailable(behind.http.post("/v1/captures"))
    proxy.heal()
    assert behind.objects.stat(key) is None
    assert behind.http.get(f"/v1/captures/{capture}").json()["images"] == []
    assert put(behind, capture, "a.png", LARGE).status_code == 201
    assert behind.objects.read(key) == LARGE
    assert behind.http.get("/healthz/ready").status_code in (200, 503)  # workers may be missing; the store is not
    assert behind.http.get("/healthz/ready").json()["checks"]["object_store"] == "ok"


def test_a_direct_upload_is_completed_when_the_store_is_back(behind: Api, proxy: TcpProxy) -> None:
    capture = new_capture(behind)
    upload = begun(behind, capture, {"a.png": LARGE, "b.jpg": photo(1)})
    for target, data in zip(upload["files"], (LARGE, photo(1)), strict=True):
        assert send(target, data) == 200
    proxy.go_away()
    assert_unavailable(complete(behind, upload))
    assert_unavailable(begin(behind, capture, {"c.jpg": photo(2)}))
    proxy.heal()
    proxy.cut_after(100_000)  # while it is read to be judged
    complete(behind, upload)
    assert names(complete(behind, upload)) == ["a.png", "b.jpg"]
    assert behind.objects.read(capture_image(capture, "a.png")) == LARGE


def test_a_submission_is_accepted_whole_or_not_at_all(behind: Api, proxy: TcpProxy) -> None:
    proxy.go_away()
    assert_unavailable(behind.submit(*good_photos(3)))
    proxy.heal()
    assert behind.http.get("/v1/jobs").json()["items"] == []
    proxy.cut_after(40_000)  # one connection breaks; the second try is heard
    answer = behind.submit(("a.png", LARGE), *good_photos(1))
    assert answer.status_code == 202, answer.text
    assert proxy.cuts == 1
    record = behind.record(answer.json()["id"])
    assert behind.objects.read(capture_image(record.capture_id, "a.png")) == LARGE


def test_results_are_served_whole_or_cut_off(behind: Api, proxy: TcpProxy) -> None:
    job = behind.new_job()
    files = {"scene.ply": bytes(range(256)) * 8000, "poses.json": b"{}"}
    behind.finish(job["id"], files)
    url = f"/v1/jobs/{job['id']}/artifacts.zip"
    whole = behind.http.get(url).content
    assert len(whole) > 2_000_000
    proxy.cut_after(1_000_000)
    with pytest.raises(httpx.RemoteProtocolError):  # fewer bytes than its Content-Length says
        behind.http.get(url)
    assert behind.http.get(url).content == whole
    proxy.go_away()
    assert_unavailable(behind.http.get(url))


def test_reads_that_break_off_are_told(s3_server: dict[str, Any], proxy: TcpProxy, tmp_path: Path) -> None:
    settings = make_settings("redis://127.0.0.1:9", tmp_path, **under(s3_server, tmp_path), s3_timeout_s=TIMEOUT_S)
    past: ObjectStore = open_store(settings)
    through = open_store(settings.model_copy(update={"s3_endpoint": proxy.url}))
    past.put("a", bytes(2_000_000))
    proxy.slow_down(3_000_000)  # so that not all of it lies in the sockets' buffers at once
    proxy.cut_after(600_000)
    with pytest.raises(StorageUnavailable):
        through.read("a")
    chunks = through.open_range("a")
    next(chunks)
    proxy.stall()
    with pytest.raises(StorageUnavailable):
        list(chunks)
    proxy.heal()
    assert len(through.read("a")) == 2_000_000


@pytest.mark.slow
def test_the_server_is_killed_under_uploads_and_comes_back(
    redis_server: EmbeddedRedis, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Clients go on sending until they are answered; what was answered is there, and no more."""
    photos = {f"{n:02d}.jpg": photo(n) for n in range(24)}
    with S3Server(tmp_path_factory.mktemp("s3-killed")) as server:
        settings = make_settings(redis_server.url, tmp_path, **server.settings, s3_timeout_s=TIMEOUT_S)
        with open_api(settings) as api:
            capture = new_capture(api)
            statuses: list[int] = []

            def send(name: str) -> None:
                deadline = time.monotonic() + 90
                while time.monotonic() < deadline:
                    status = put(api, capture, name, photos[name]).status_code
                    statuses.append(status)
                    if status in (200, 201):
                        return
                    time.sleep(0.2)

            threads = [threading.Thread(target=send, args=(name,)) for name in photos]
            for number, thread in enumerate(threads):
                thread.start()
                if number == 8:
                    server.kill()
            wait_for(lambda: 503 in statuses, ANSWERED_WITHIN_S, "a refusal")
            server.start()
            for thread in threads:
                thread.join(100)
            assert set(statuses) <= {200, 201, 503}
            shown = api.http.get(f"/v1/captures/{capture}").json()["images"]
            assert [image["name"] for image in shown] == sorted(photos)
            assert all(api.objects.read(capture_image(capture, name)) == data for name, data in photos.items())
            assert api.http.post("/v1/reconstructions", json={"capture_id": capture}).status_code == 202


def test_a_job_whose_store_stays_away_fails_by_name_and_the_worker_serves_on(
    redis_server: EmbeddedRedis, s3_server: dict[str, Any], proxy: TcpProxy, tmp_path: Path
) -> None:
    settings = make_settings(redis_server.url, tmp_path, **under(s3_server, tmp_path), s3_timeout_s=TIMEOUT_S)
    with Stand(settings, tmp_path) as stand:
        stand.settings = settings.model_copy(update={"s3_endpoint": proxy.url})
        stand.start_worker()
        job = stand.submit(fake={"stages": {"match": 1.0}})
        stand.wait_stage(job, "match", 40)
        proxy.go_away()
        failed = stand.wait_terminal(job, 60)
        proxy.heal()
        assert failed.error is not None
        assert (failed.error.code, failed.error.retryable) == (JobErrorCode.STORAGE_UNAVAILABLE, True)
        assert check_job(stand, failed).result is None
        again = check_job(stand, stand.wait_terminal(stand.submit(), 60))
        assert again.status is JobStatus.SUCCEEDED
