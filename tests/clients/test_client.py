"""The Python client against the real API: the whole way, and every call; blocking and asynchronous alike."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from m3r_client import (
    AsyncClient,
    Client,
    Conflict,
    Forbidden,
    Gone,
    InvalidRequest,
    JobNotSucceeded,
    NotFound,
    Progress,
    Refused,
    Unauthorized,
    WaitTimeout,
    Wishes,
)
from tests.clients.conftest import QUICK, RESULT
from tests.services.api_stand import Api, good_photos, open_api
from tests.services.bad_files import text_as_photo

pytestmark = pytest.mark.timeout(120)


def folder_of_photos(tmp_path: Path, count: int = 3) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, data in good_photos(count):
        (folder / name).write_bytes(data)
    (folder / "notes.txt").write_text("not a photograph")
    return folder


def saved(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()}


def test_reconstruct_goes_the_whole_way(client: Client, worker: None, tmp_path: Path) -> None:
    heard: list[Progress] = []
    photos = folder_of_photos(tmp_path)
    result = client.reconstruct(photos, labels={"site": "north"}, out=tmp_path / "out", on_progress=heard.append)
    assert result.job.succeeded
    assert saved(tmp_path / "out") == RESULT
    assert {artifact.name for artifact in result.artifacts} == set(RESULT)
    capture = client.capture(result.job.capture_id)
    assert [image.name for image in capture.images] == ["photo_0.jpg", "photo_1.jpg", "photo_2.jpg"]
    assert capture.images[0].sha256 == hashlib.sha256((photos / "photo_0.jpg").read_bytes()).hexdigest()
    for phase in ("upload", "job", "download"):
        fractions = [each.fraction for each in heard if each.phase == phase]
        assert fractions == sorted(fractions), phase
        assert fractions[-1] == 1.0, phase
    assert heard[0].capture_id == capture.id


def test_the_asynchronous_client_does_the_same(api: Api, worker: None, tmp_path: Path) -> None:
    async def whole_way() -> Any:
        async with AsyncClient(api.url, retry=QUICK) as client:
            result = await client.reconstruct(good_photos(2), out=tmp_path / "out")
            events = [event async for event in client.events(result.job.id)]
            jobs = [job.id async for job in client.jobs(page_size=1)]
            waited = await client.wait(result.job.id, by="events")
            await client.delete(result.job.id)
            with pytest.raises(Gone):
                await client.job(result.job.id)
            info, options = await client.info(), await client.options()
            return result, events, jobs, waited, info, options

    result, events, jobs, waited, info, options = asyncio.run(whole_way())
    assert saved(tmp_path / "out") == RESULT
    assert jobs == [result.job.id]
    assert waited.succeeded
    assert events[0].event == "job"
    assert events[0].data["id"] == result.job.id
    assert info.limits.max_photos == 200
    assert "matching" in options["properties"]


def test_two_asynchronous_uploads_run_beside_each_other(api: Api) -> None:
    async def both() -> list[Any]:
        async with AsyncClient(api.url, retry=QUICK) as client:
            return list(await asyncio.gather(client.upload(good_photos(3)), client.upload(good_photos(4))))

    first, second = asyncio.run(both())
    assert (len(first.images), len(second.images)) == (3, 4)
    assert first.id != second.id


def test_wait_hears_the_progress_by_polls_and_by_events(api: Api, client: Client) -> None:
    for by in ("poll", "events"):
        job = api.new_job()
        heard: list[Progress] = []

        def react(progress: Progress, job_id: str = job["id"], heard: list[Progress] = heard) -> None:
            heard.append(progress)
            if progress.name == "queued":
                react.token = api.claim(job_id)  # type: ignore[attr-defined]
                api.progress(job_id, react.token, 0.4)  # type: ignore[attr-defined]
            elif progress.name == "encode":
                api.commit(job_id, react.token, RESULT)  # type: ignore[attr-defined]

        ended = client.wait(job["id"], by=by, on_progress=react)  # type: ignore[arg-type]
        assert ended.succeeded, by
        names = [progress.name for progress in heard]
        assert names[0] == "queued", by
        assert ("encode", 0.4) in [(progress.name, progress.fraction) for progress in heard], by
        assert heard[-1].job == ended, by


def test_waiting_ends_but_the_job_goes_on(api: Api, client: Client) -> None:
    job = api.new_job()
    with pytest.raises(WaitTimeout, match=job["id"]):
        client.wait(job["id"], timeout_s=0.2)
    assert client.job(job["id"]).status == "queued"


def test_a_job_that_fails_says_why(api: Api, client: Client) -> None:
    job = api.new_job()
    client.cancel(job["id"])
    again = client.retry(job["id"])
    assert again.retry_of == job["id"]
    assert client.cancel(again.id).status == "canceled"
    with pytest.raises(Conflict):
        client.delete_capture(client.submit(client.upload(good_photos(2)).id).capture_id)

    async def fails() -> None:
        async with AsyncClient(api.url, retry=QUICK) as other:
            waiting = asyncio.create_task(other.reconstruct(good_photos(2)))
            while not (queued := [job async for job in other.jobs(status="queued") if len(job.labels) == 0][:-1]):
                await asyncio.sleep(0.02)
            await other.cancel(queued[0].id)
            await waiting

    with pytest.raises(JobNotSucceeded, match="canceled") as caught:
        asyncio.run(fails())
    assert caught.value.job.status == "canceled"


def test_canceling_what_is_canceled_is_no_error_but_what_has_succeeded_is(api: Api, client: Client) -> None:
    job = api.new_job()
    assert client.cancel(job["id"]).status == "canceled"
    assert client.cancel(job["id"]).status == "canceled"
    done = api.new_job()
    api.finish(done["id"])
    with pytest.raises(Conflict) as caught:
        client.cancel(done["id"])
    assert caught.value.code == "conflict"


def test_jobs_are_listed_over_page_borders(api: Api, client: Client) -> None:
    ids = [api.new_job(labels='{"site": "north"}')["id"] for _ in range(3)] + [api.new_job()["id"]]
    assert [job.id for job in client.jobs(page_size=2)] == ids[::-1]
    assert [job.id for job in client.jobs(label="site=north", page_size=2)] == ids[2::-1]
    assert list(client.jobs(status="running")) == []


def test_refusals_are_errors_with_names(client: Client) -> None:
    unknown = "job_0197aaaa-0000-7000-8000-000000000000"
    with pytest.raises(NotFound) as caught:
        client.job(unknown)
    error = caught.value
    assert (error.status, error.code, error.retryable) == (404, "not_found", False)
    assert error.request_id.startswith("req_")
    assert str(error).startswith("404 not_found: ")
    capture = client.upload(good_photos(1))
    with pytest.raises(InvalidRequest) as wrong:
        client.submit(capture.id, Wishes(options={"matching": {"spiral": 1}}))
    assert wrong.value.code == "invalid_options"
    assert wrong.value.errors[0].pointer == "/options/matching/spiral"
    assert "spiral" in str(wrong.value)
    client.delete_capture(capture.id)
    client.delete_capture(capture.id)  # gone is deleted
    with pytest.raises(Gone):
        client.capture(capture.id)


def test_a_webhook_goes_with_the_job_and_its_secret_is_not_shown(api: Api, client: Client) -> None:
    hook = {"url": "https://hooks.invalid/m3r", "secret": "whsec_" + "A" * 32}
    wishes = Wishes(webhook=hook)
    assert "whsec" not in repr(wishes)
    capture = client.upload(good_photos(2))
    with pytest.raises(InvalidRequest) as refused:
        client.submit(capture.id, Wishes(webhook={"url": "http://127.0.0.1/hook"}))
    assert refused.value.errors[0].pointer.startswith("/webhook")
    job = client.submit(capture.id, wishes)
    webhook = api.record(job.id).webhook
    assert webhook is not None
    assert webhook.url == hook["url"]


def test_photographs_that_cannot_be_used_are_left_out_or_refused(client: Client) -> None:
    heard: list[Progress] = []
    photos = [*good_photos(2), ("letter.jpg", text_as_photo())]
    capture = client.upload(photos, on_progress=heard.append)
    assert [image.name for image in capture.images] == ["photo_0.jpg", "photo_1.jpg"]
    assert [progress.name for progress in heard if "left out" in progress.message] == ["letter.jpg"]
    with pytest.raises(InvalidRequest, match="invalid_image"):
        client.upload(photos, strict_images=True)
    with pytest.raises(InvalidRequest, match="invalid_image"):
        client.upload([("letter.jpg", text_as_photo())])


def test_what_cannot_be_photographs_is_said_before_anything_is_sent(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no photograph"):
        client.upload(tmp_path)
    with pytest.raises(ValueError, match=r"two photographs are named 'a.jpg'"):
        client.upload([("a.jpg", b"1"), ("a.jpg", b"2")])


def test_names_of_another_unicode_form_arrive(client: Client) -> None:
    capture = client.upload([("Hofu\u0308gel & Tür.jpg", good_photos(1)[0][1])])
    assert [image.name for image in capture.images] == ["Hof\u00fcgel & T\u00fcr.jpg"]


def test_without_a_good_key_nothing_is_repeated(redis_server: Any, tmp_path: Path) -> None:
    from tests.services.conftest import make_settings

    settings = make_settings(redis_server.url, tmp_path, api_key_sha256s=(hashlib.sha256(b"m3r_good").hexdigest(),))
    with open_api(settings) as api:
        for key in (None, "m3r_wrong"):
            with Client(api.url, key, retry=QUICK) as client, pytest.raises(Unauthorized) as caught:
                client.info()
            assert caught.value.code == "unauthorized"
        with Client(api.url, "m3r_good", retry=QUICK) as client:
            assert client.info().name == "mast3r-service"
            assert "m3r_good" not in repr(client.__dict__)
    assert issubclass(Forbidden, Refused)
