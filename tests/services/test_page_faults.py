"""The page where things go wrong: broken connections, wrong keys, failed jobs, browsers that cannot draw, a proxy's prefix."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from playwright.sync_api import Browser, Route, expect

from services.adapters.settings import Settings
from tests.services.api_stand import Api, open_api
from tests.services.bad_files import text_as_photo
from tests.services.page_stand import BLUE, api, browser, eventually, finished_job, good_photos, known_scene, publish, visit
from tests.services.service_stand import Stand

__all__ = ["api", "browser"]

KEY = "m3r_0123456789abcdef"
LOST = r"net::ERR_"  # the browser's own word on a broken connection
REFUSED = r"status of 4\d\d"


def test_an_upload_goes_on_after_the_connection_broke(browser: Browser, api: Api) -> None:
    tries: list[str] = []
    digests: set[str] = set()

    def break_first(route: Route) -> None:
        tries.append(route.request.url)
        digests.add(route.request.headers["content-digest"])
        if tries.count(route.request.url) == 1:
            route.abort("connectionreset")
        else:
            route.continue_()

    with visit(browser, api.url, LOST) as visitor:
        page = visitor.page
        page.route("**/images/*", break_first)
        visitor.open()
        visitor.choose(good_photos(3))
        expect(page.locator("#draft-state")).to_contain_text("The connection broke; it is tried again.")
        page.click("#submit")  # wanted already; the job is made when all have arrived
        job_id = visitor.job_id()
        assert len(tries) == 6
        sums = [hashlib.sha256(data) for _, data in good_photos(3)]
        assert {image.sha256 for image in api.record(job_id).images} == {each.hexdigest() for each in sums}
        assert digests == {f"sha-256=:{base64.b64encode(each.digest()).decode()}:" for each in sums}


def test_an_upload_goes_on_after_a_reload(browser: Browser, api: Api) -> None:
    with visit(browser, api.url, LOST) as visitor:
        page = visitor.page
        page.route("**/images/*1.jpg", lambda route: route.abort("connectionreset"))
        visitor.open()
        visitor.choose(good_photos(3))
        expect(page.locator(".photo.stored")).to_have_count(2)
        page.unroute("**/images/*1.jpg")
        visitor.requests.clear()
        page.reload()
        expect(page.locator(".photo.stored")).to_have_count(3)
        sent = [url for url in visitor.requests if "/images/" in url and "thumbnail" not in url]
        assert [url.rpartition("/")[2] for url in sent] == ["photo_1.jpg"], "what had arrived is not sent again"
        page.click("#submit")
        assert len(api.record(visitor.job_id()).images) == 3
        page.goto(f"{api.url}/#/")
        expect(page.locator("#start")).to_be_visible()  # nothing of the draft is left


def test_a_refused_photograph_is_named_and_the_others_count(browser: Browser, api: Api) -> None:
    with visit(browser, api.url, REFUSED) as visitor:
        page = visitor.page
        visitor.open()
        visitor.choose([*good_photos(2), ("notes.jpg", text_as_photo())])
        refused = page.locator(".photo.refused")
        expect(refused).to_have_count(1)
        expect(refused).to_contain_text("not a JPEG")
        expect(page.locator("#draft-state")).to_contain_text("1 photo not taken")
        page.get_by_role("button", name="Remove notes.jpg").click()
        expect(refused).to_have_count(0)
        page.click("#submit")
        assert len(api.record(visitor.job_id()).images) == 2


def test_photographs_can_be_discarded(browser: Browser, api: Api) -> None:
    with visit(browser, api.url) as visitor:
        visitor.open()
        visitor.choose(good_photos(2))
        expect(visitor.page.locator(".photo.stored")).to_have_count(2)
        assert len(api.stored("captures/")) > 2
        visitor.page.click("#draft-discard")
        visitor.page.click("#confirm-yes")
        expect(visitor.page.locator("#start")).to_be_visible()
        eventually(lambda: not [key for key in api.stored("captures/") if "/images/" in key])


def test_progress_without_event_streams(browser: Browser, api: Api) -> None:
    job_id = api.new_job(2)["id"]
    with visit(browser, api.url, LOST) as visitor:
        page = visitor.page
        page.route("**/events", lambda route: route.abort("connectionreset"))
        visitor.open(f"#/jobs/{job_id}")
        expect(page.locator(".now b")).to_have_text("Waiting for its turn")
        token = api.claim(job_id)
        api.progress(job_id, token, 0.25)
        expect(page.locator("[aria-current=step]")).to_have_text("Encode each photo", timeout=15_000)
        publish(api, job_id, token=token)
        visitor.see_result()


def test_a_job_that_fails_says_why_and_can_be_done_again(browser: Browser, settings: Settings, stand: Stand) -> None:
    stand.start_worker()
    with open_api(settings) as api, visit(browser, api.url) as visitor:
        page = visitor.page
        visitor.open()
        visitor.choose([good_photos(1)[0], ("do-no-overlap.jpg", good_photos(2)[1][1])])
        expect(page.locator(".photo.stored")).to_have_count(2)
        page.click("#submit")
        expect(page.locator(".verdict h2")).to_have_text("The photos do not hang together")
        job = api.job(visitor.job_id())
        expect(page.locator(".verdict")).to_contain_text("no_overlap")
        expect(page.locator(".verdict")).to_contain_text(job["error"]["message"][1:])
        expect(page.locator(".hint-box")).to_contain_text(job["error"]["hint"][1:40])
        before = page.url
        page.get_by_role("button", name="Do it again").click()
        page.wait_for_function("before => location.href !== before", arg=before)
        assert api.job(visitor.job_id())["retry_of"] == job["id"]


def test_a_service_with_keys(browser: Browser, settings: Settings) -> None:
    hashes = (hashlib.sha256(KEY.encode()).hexdigest(),)
    with open_api(settings.model_copy(update={"api_key_sha256s": hashes})) as api, visit(browser, api.url, REFUSED) as visitor:
        api.http.headers["Authorization"] = f"Bearer {KEY}"
        job_id = finished_job(api)
        page = visitor.page
        visitor.open(f"#/jobs/{job_id}")
        expect(page.locator("#key-dialog")).to_be_visible()
        page.fill("#key-input", "m3r_wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-text")).to_contain_text("This key is not accepted")
        page.fill("#key-input", KEY)
        page.keyboard.press("Enter")
        visitor.see_result()
        assert visitor.spot(BLUE)[0] > 1000
        photo = page.locator(".thumbs img").first
        eventually(lambda: photo.evaluate("image => image.naturalWidth") == 64)
        files = {file["name"]: file["sha256"] for file in api.http.get(f"/v1/jobs/{job_id}/artifacts").json()}
        data = visitor.download("a[data-file='scene.ply']")
        assert hashlib.sha256(data).hexdigest() == files["scene.ply"]
        assert len(visitor.download("#download-all")) > len(data)

        page.goto(f"{api.url}/#/")
        visitor.choose(good_photos(2))
        expect(page.locator(".photo.stored")).to_have_count(2)
        page.click("#submit")
        expect(page.locator(".now b")).to_have_text("Waiting for its turn")
        new = visitor.job_id()
        publish(api, new)
        visitor.see_result()
        assert [url for url in visitor.requests if KEY in url] == [], "the key is in no address"
        assert page.evaluate("[sessionStorage['m3r.key'], JSON.stringify(localStorage)]") == [KEY, "{}"]
        assert page.context.cookies() == []


def test_a_key_that_ends_while_photographs_are_sent_is_asked_for_again(browser: Browser, settings: Settings) -> None:
    hashes = (hashlib.sha256(KEY.encode()).hexdigest(),)
    with open_api(settings.model_copy(update={"api_key_sha256s": hashes})) as api, visit(browser, api.url, REFUSED) as visitor:
        page = visitor.page
        page.goto(api.url)
        page.fill("#key-input", KEY)
        page.keyboard.press("Enter")
        expect(page.locator("#limits")).not_to_be_empty()
        visitor.choose(good_photos(1))
        expect(page.locator(".photo.stored")).to_have_count(1)
        page.evaluate("sessionStorage.setItem('m3r.key', 'm3r_ended')")
        visitor.choose([good_photos(2)[1]])
        expect(page.locator("#key-dialog")).to_be_visible()
        page.fill("#key-input", KEY)
        page.keyboard.press("Enter")
        expect(page.locator(".photo.stored")).to_have_count(2, timeout=15_000)


def test_without_webgl_the_picture_and_the_files_remain(browser: Browser, api: Api) -> None:
    job_id = finished_job(api)
    no_webgl = "HTMLCanvasElement.prototype.getContext = () => null;"
    with visit(browser, api.url, init=no_webgl) as visitor:
        page = visitor.page
        visitor.open(f"#/jobs/{job_id}")
        expect(page.locator(".flat .notice")).to_contain_text("WebGL is missing")
        eventually(lambda: page.locator(".flat img").evaluate("image => image.naturalWidth") == 160)
        assert visitor.download("a[data-file='scene.ply']").startswith(b"ply\n")
        expect(page.locator(".thumbs button")).to_have_count(3)


def test_a_cloud_that_cannot_be_read_is_told(browser: Browser, api: Api) -> None:
    for broken, why in ((b"PK\x03\x04 not a cloud" * 9, "does not begin like a PLY"), (None, "ended too early")):
        job_id = api.new_job(2)["id"]
        token = api.claim(job_id)
        files = known_scene(["photo_0.jpg", "photo_1.jpg"])
        files["scene.ply"] = files["scene.ply"][:-7] if broken is None else broken
        api.commit(job_id, token, files)
        with visit(browser, api.url) as visitor:
            visitor.open(f"#/jobs/{job_id}")
            expect(visitor.page.locator(".flat .notice")).to_contain_text(why)
            expect(visitor.page.locator("a[data-file='poses.json']")).to_be_visible()


def test_a_job_that_is_not_there(browser: Browser, api: Api) -> None:
    with visit(browser, api.url, REFUSED) as visitor:
        visitor.open("#/jobs/job_0198f000-0000-7000-8000-000000000000")
        expect(visitor.page.locator("#job")).to_contain_text("This job cannot be shown")
        visitor.page.get_by_role("link", name="All jobs").click()
        expect(visitor.page.locator("#start")).to_be_visible()


def test_behind_a_proxy_s_prefix(browser: Browser, settings: Settings) -> None:
    with open_api(settings.model_copy(update={"root_path": "/m3r"})) as api, visit(browser, f"{api.url}/m3r") as visitor:
        job_id = finished_job(api)
        visitor.open()
        visitor.page.locator(".job-row").click()
        visitor.see_result()
        assert visitor.job_id() == job_id
        assert visitor.download("a[data-file='poses.json']").startswith(b"{")
        assert all("/m3r/" in url for url in visitor.requests if not url.startswith("blob:"))


def test_a_photograph_dropped_on_the_page(browser: Browser, api: Api) -> None:
    with visit(browser, api.url) as visitor:
        visitor.open()
        expect(visitor.page.locator("#limits")).not_to_be_empty()
        drop = """bytes => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], 'dropped.jpg', { type: 'image/jpeg' }));
          for (const kind of ['dragenter', 'dragover', 'drop'])
            document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
        }"""
        visitor.page.evaluate(drop, list(good_photos(1)[0][1]))
        expect(visitor.page.locator(".photo.stored")).to_have_count(1)
        assert [key for key in api.stored("captures/") if key.endswith("images/dropped.jpg")]


def test_files_that_lie_in_an_object_store_elsewhere(browser: Browser, settings: Settings, s3_server: dict[str, Any]) -> None:
    with (
        open_api(settings.model_copy(update=s3_server)) as api,
        visit(browser, api.url, elsewhere=s3_server["s3_endpoint"]) as visitor,
    ):
        visitor.open(f"#/jobs/{finished_job(api)}")
        visitor.see_result()
        assert visitor.spot(BLUE)[0] > 1000
        assert [url for url in visitor.requests if url.startswith(s3_server["s3_endpoint"])], "the cloud came from the store"
        assert visitor.download("a[data-file='scene.ply']").startswith(b"ply\n")
