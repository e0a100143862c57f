"""The page in a real Chromium: photographs in, progress, the scene, its knobs, downloads; with mouse, keys and fingers."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from services.contract.jobs import ProgressReport, StageProgress
from tests.services.api_stand import Api
from tests.services.page_stand import (
    BLUE,
    CENTRE,
    FOCAL,
    GREEN,
    MARK,
    PHONE,
    RED,
    SIZE,
    TOO_LITTLE,
    Visitor,
    api,
    browser,
    eventually,
    finished_job,
    good_photos,
    publish,
    visit,
)

__all__ = ["api", "browser"]


FIND_CAMERA = """() => {
  const canvas = document.querySelector('.stage canvas');
  const box = canvas.getBoundingClientRect();
  for (let x = box.left + 5; x < box.right; x += 6)
    for (let y = box.top + 5; y < box.bottom; y += 6) {
      canvas.dispatchEvent(new PointerEvent('pointermove', { clientX: x, clientY: y, bubbles: true }));
      if (canvas.classList.contains('over-camera')) return [x + 6, y];
    }
  return null;
}"""


@pytest.fixture
def visitor(browser: Browser, api: Api) -> Iterator[Visitor]:
    """A visitor of this test's service."""
    with visit(browser, api.url) as here:
        yield here


def report(api: Api, job_id: str, token: str, stage: str, fraction: float) -> None:
    """Tell how far the job is, as a worker would."""
    spent = [StageProgress(name="load", seconds=0.4), StageProgress(name="encode", seconds=2.5)]
    values = {"stage": stage, "fraction": fraction, "eta_s": 42.0, "stages": spent, "updated_at": api.store.now()}
    assert api.store.heartbeat(job_id, token, ProgressReport.model_validate(values)) is not None


def test_from_photographs_to_points_and_files(visitor: Visitor, api: Api) -> None:
    page = visitor.page
    visitor.open()
    expect(page.locator("#limits")).to_contain_text("up to 200 photos")
    visitor.choose(good_photos(3))
    expect(page.locator(".photo.stored")).to_have_count(3)
    page.fill("#job-name", "Wall <b>bold</b>")
    page.get_by_label("Fast").check()
    page.click("text=More file formats")
    page.check("input[value='scene.glb']")
    page.click("#submit")
    job_id = visitor.job_id()
    record = api.record(job_id)
    assert (record.preset, record.outputs, record.labels) == ("fast", ["scene.glb"], {"name": "Wall <b>bold</b>"})
    stored = {image.name: image.sha256 for image in record.images}
    assert stored == {name: hashlib.sha256(data).hexdigest() for name, data in good_photos(3)}

    expect(page.get_by_role("heading", level=1)).to_have_text("Wall <b>bold</b>")
    expect(page.locator(".now b")).to_have_text("Waiting for its turn")
    token = api.claim(job_id)
    report(api, job_id, token, "decode", 0.41)
    expect(page.locator("[aria-current=step]")).to_have_text("Compare pairs")
    expect(page.locator(".sheet [role=progressbar]")).to_have_attribute("aria-valuenow", "41")
    expect(page.locator(".now")).to_contain_text("about 45 s left")
    expect(page.locator("li.past").nth(1)).to_contain_text("2.5 s")
    report(api, job_id, token, "align", 0.9)
    expect(page.locator("[aria-current=step]")).to_have_text("Place the cameras")

    result = publish(api, job_id, token=token)
    visitor.see_result()
    assert visitor.spot(RED)[0] > 1000
    assert visitor.spot(BLUE)[0] > 1000
    expect(page.locator("#cloud-state")).to_have_text("11 thousand points")
    for file in result.artifacts:
        data = visitor.download(f"a[data-file='{file.name}']")
        assert hashlib.sha256(data).hexdigest() == file.sha256, file.name
    with zipfile.ZipFile(io.BytesIO(visitor.download("#download-all"))) as archive:
        assert {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()} == {
            file.name: file.sha256 for file in result.artifacts
        }


def test_looking_through_a_camera_shows_what_its_photograph_saw(visitor: Visitor, api: Api) -> None:
    page = visitor.page
    visitor.open(f"#/jobs/{finished_job(api)}")
    visitor.see_result()
    page.get_by_role("button", name="Camera of photo_1.jpg").click()
    expect(page.locator(".who")).to_have_text("photo_1.jpg")
    eventually(lambda: visitor.spot(GREEN)[0] > 20)
    _, x, y = visitor.spot(GREEN)
    height, width = visitor.picture().shape[:2]
    shown = min(width / SIZE[0], height / SIZE[1])
    u, v = (FOCAL * MARK[axis] / MARK[2] + CENTRE[axis] for axis in (0, 1))  # its pixel, by the pinhole formula
    assert abs(x - (width / 2 + (u + 0.5 - SIZE[0] / 2) * shown)) < 1.5
    assert abs(y - (height / 2 + (v + 0.5 - SIZE[1] / 2) * shown)) < 1.5

    page.locator("#photo-opacity").fill("100")  # now the photograph itself, over everything
    eventually(lambda: visitor.spot(GREEN)[0] == 0)
    page.locator("#photo-opacity").fill("0")
    page.keyboard.press("n")
    expect(page.locator(".who")).to_have_text("photo_2.jpg")
    eventually(lambda: visitor.spot(GREEN)[1] < x - 30)  # a camera farther right sees it farther left
    page.keyboard.press("Escape")
    expect(page.locator(".over.bottom")).to_be_hidden()


def test_a_camera_in_the_scene_can_be_clicked(visitor: Visitor, api: Api) -> None:
    page = visitor.page
    visitor.open(f"#/jobs/{finished_job(api)}")
    visitor.see_result()
    box = page.locator(".stage canvas").bounding_box()
    assert box is not None
    place = page.evaluate(FIND_CAMERA)
    assert place is not None, "no camera lies under the mouse anywhere"
    page.mouse.click(*place)
    expect(page.locator(".who")).to_have_text("photo_0.jpg")  # the first one from the left
    page.mouse.move(box["x"] + 100, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 180, box["y"] + 200, steps=4)
    page.mouse.up()
    expect(page.locator(".over.bottom")).to_be_hidden()  # dragging leaves the camera


def test_confidence_and_size(visitor: Visitor, api: Api) -> None:
    page = visitor.page
    visitor.open(f"#/jobs/{finished_job(api)}")
    visitor.see_result()
    page.uncheck("#cameras")  # their photographs have colours of their own
    red, blue = visitor.spot(RED)[0], visitor.spot(BLUE)[0]
    page.locator("#hide").fill("34")  # all of the red third, which is the least sure, and a little more
    eventually(lambda: visitor.spot(RED)[0] == 0)
    assert visitor.spot(BLUE)[0] > 0.8 * blue
    page.locator("#hide").fill("0")
    eventually(lambda: visitor.spot(RED)[0] > 0.9 * red)
    page.locator("#size").fill("0")
    eventually(lambda: 0 < visitor.spot(BLUE)[0] < 0.8 * blue)
    page.get_by_label("Confidence", exact=True).check()
    eventually(lambda: visitor.spot(BLUE)[0] == visitor.spot(RED)[0] == 0)
    expect(page.locator(".legend")).to_be_visible()
    for key in "]" * 8 + "c":
        page.keyboard.press(key)
    eventually(lambda: visitor.spot(BLUE)[0] > 0.8 * blue)


def test_photographs_left_out_and_warnings_are_told(visitor: Visitor, api: Api) -> None:
    job_id = finished_job(api, photos=4, left_out=1, warnings=("a note on the light",))
    visitor.open(f"#/jobs/{job_id}")
    visitor.see_result()
    left_out = visitor.page.locator("#left-out")
    expect(left_out).to_contain_text("photo_3.jpg")
    expect(left_out).to_contain_text(TOO_LITTLE[1:])
    expect(visitor.page.locator("#warnings")).to_contain_text("A note on the light.")
    expect(visitor.page.locator("#warnings")).to_contain_text("1 of 4 photographs are not registered.")
    expect(visitor.page.locator(".quality")).to_contain_text("Fair")
    expect(visitor.page.locator(".thumbs button")).to_have_count(3)


def test_the_list_stop_and_delete(visitor: Visitor, api: Api) -> None:
    page = visitor.page
    finished, waiting = finished_job(api), api.new_job(2)["id"]
    visitor.open()
    rows = page.locator(".job-row")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("Wall")
    expect(rows.nth(1)).to_contain_text("Done")
    rows.nth(1).scroll_into_view_if_needed()
    expect(rows.nth(1).locator("img")).to_be_visible()
    rows.nth(0).click()
    page.wait_for_url(f"**/#/jobs/{waiting}")
    page.click("#cancel")
    page.click("#confirm-yes")
    expect(page.locator(".verdict")).to_contain_text("It was stopped")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Keep").click()
    assert api.job(waiting)["status"] == "canceled"
    page.get_by_role("button", name="Delete").click()
    page.click("#confirm-yes")
    expect(rows).to_have_count(1)
    assert api.http.get(f"/v1/jobs/{waiting}").status_code == 410
    rows.nth(0).click()
    visitor.see_result()
    assert visitor.job_id() == finished
    page.go_back()
    expect(page.locator("#home-title")).to_be_visible()


def test_with_the_keyboard_alone(visitor: Visitor, api: Api) -> None:
    page = visitor.page
    visitor.open()
    expect(page.locator("#limits")).not_to_be_empty()

    def tab_to(wanted: str, presses: int = 40) -> None:
        for _ in range(presses):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", wanted):
                ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert ring != "none", f"{wanted} does not show that it has the focus"
                return
        raise AssertionError(f"{wanted} cannot be reached with Tab")

    tab_to("#choose", 8)
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([{"name": n, "mimeType": "image/jpeg", "buffer": d} for n, d in good_photos(2)])
    expect(page.locator("#draft-state")).to_have_text("2 photos sent")
    expect(page.locator("#live")).to_contain_text("2 photos sent")
    tab_to("#job-name")
    page.keyboard.type("keys nN?")
    tab_to("#submit")
    page.keyboard.press("Enter")
    job_id = visitor.job_id()
    assert api.record(job_id).labels == {"name": "keys nN?"}
    assert page.evaluate("document.activeElement.id") == "main"
    expect(page.locator("#live")).to_contain_text("Waiting")
    publish(api, job_id)
    visitor.see_result()
    tab_to(".stage canvas")
    before = visitor.spot(BLUE)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    eventually(lambda: abs(visitor.spot(BLUE)[2] - before[2]) > 8)  # seen from another side, its corner is nearer
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("p")
    expect(page.locator("#live")).to_contain_text("Looking through the camera of photo_1.jpg, 2 of 2")
    tab_to("#leave")
    page.keyboard.press("Enter")
    expect(page.locator(".over.bottom")).to_be_hidden()
    tab_to("a[data-file='scene.ply']")


def test_on_a_phone(browser: Browser, api: Api) -> None:
    with visit(browser, api.url, **PHONE) as visitor:
        page = visitor.page

        def fits() -> None:
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["viewport"]["width"]

        visitor.open()
        expect(page.get_by_role("button", name="Take photos")).to_be_visible()
        assert page.locator("#camera-input").get_attribute("capture") == "environment"
        fits()
        visitor.choose([("image.jpg", good_photos(1)[0][1])], "#camera-input")
        visitor.choose([("image.jpg", good_photos(2)[1][1])], "#camera-input")  # a phone gives every photo this name
        expect(page.locator(".photo.stored")).to_have_count(2)
        fits()
        page.tap("#submit")
        job_id = visitor.job_id()
        assert [image.name for image in api.record(job_id).images] == ["image-2.jpg", "image.jpg"]
        fits()
        publish(api, job_id)
        visitor.see_result()
        fits()
        assert visitor.spot(BLUE)[0] > 300
        page.locator(".thumbs button").first.tap()
        expect(page.locator(".who")).to_have_text("image-2.jpg")
        page.tap("#leave")
        page.evaluate("document.querySelector('#hide').scrollIntoView()")
        stage, knob = page.locator(".stage").bounding_box(), page.locator("#hide").bounding_box()
        assert stage is not None
        assert knob is not None
        assert stage["y"] >= 0, "the scene stays in sight"
        assert knob["y"] >= stage["y"] + stage["height"], "while its knobs are turned"
        small = [each.bounding_box() for each in page.locator("button:visible, a.button:visible").all()]
        assert all(box is None or box["height"] >= 34 for box in small)


def test_dark_and_light(browser: Browser, api: Api) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        with visit(browser, api.url, color_scheme=scheme) as visitor:
            visitor.open()
            shades[scheme] = visitor.page.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = {scheme: sum(json.loads("[" + shade[4:-1] + "]")) for scheme, shade in shades.items()}
    assert levels["light"] > 700
    assert levels["dark"] < 90
