"""A real headless Chromium on the page of a real API; the worker is played by the test, with a scene that is known exactly."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from services.adapters.settings import Settings
from services.contract.jobs import JobResult, PhotoQuality, Quality
from tests.services.api_stand import Api, good_photos, open_api

T = TypeVar("T")

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
DESKTOP: dict[str, Any] = {"viewport": {"width": 1000, "height": 640}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 780},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}

SIZE = (640, 480)  # of the scene's photographs
FOCAL, CENTRE = 500.0, (260.5, 239.5)  # the principal point lies off the middle
MARK = (0.0, 0.8, 4.0)  # where the green points are
RED, GREEN, BLUE = (230, 10, 10), (10, 220, 10), (10, 10, 230)
TOO_LITTLE = "it shares too little with the others"
SURE = {RED: (1.0, 2.0), GREEN: (3.0, 4.0), BLUE: (3.0, 4.0)}  # confidences


def known_scene(names: list[str], left_out: int = 0) -> dict[str, bytes]:
    """Files of a result: a red patch that is not sure, a blue one that is, a green mark; cameras in a row before them."""
    patches = [(RED, (-0.7, 0.0, 4.0), 0.5), (BLUE, (0.7, 0.0, 4.0), 0.5), (GREEN, MARK, 0.06)]
    images = [_image(name, i, i < len(names) - left_out) for i, name in enumerate(names)]
    poses = {"schema_version": 1, "metric": True, "axes": "opencv", "world": "", "images": images, "pairs": []}
    preview = io.BytesIO()
    Image.new("RGB", (160, 90), (90, 40, 160)).save(preview, "PNG")
    return {"scene.ply": _cloud(patches), "poses.json": json.dumps(poses).encode(), "preview.png": preview.getvalue()}


def _image(name: str, index: int, registered: bool) -> dict[str, Any]:
    pose = np.eye(4)
    pose[0, 3] = 0.6 * (index - 1)
    matrix = [[FOCAL, 0, CENTRE[0]], [0, FOCAL, CENTRE[1]], [0, 0, 1]]
    return {
        "name": name,
        "registered": registered,
        "component": 0 if registered else -1,
        "width": SIZE[0],
        "height": SIZE[1],
        "K": matrix if registered else None,
        "cam2world": pose.tolist() if registered else None,
    }


def _cloud(patches: list[tuple[tuple[int, int, int], tuple[float, float, float], float]]) -> bytes:
    fields = [(n, "<f4") for n in ("x", "y", "z", "nx", "ny", "nz")] + [(n, "u1") for n in ("red", "green", "blue")]
    parts = []
    for colour, (x, y, z), half in patches:
        side = np.linspace(-half, half, 60)
        grid = np.zeros(3600, np.dtype([*fields, ("confidence", "<f4")]))
        grid["x"], grid["y"], grid["z"] = np.repeat(side, 60) + x, np.tile(side, 60) + y, z
        grid["red"], grid["green"], grid["blue"] = colour
        grid["confidence"] = np.linspace(*SURE[colour], 3600)
        parts.append(grid)
    table = np.concatenate(parts)
    types = {"<f4": "float", "|u1": "uchar"}
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
    lines += [f"property {types[table.dtype[name].str]} {name}" for name in table.dtype.names or ()]
    return "\n".join([*lines, "end_header", ""]).encode() + table.tobytes()


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    """The API of one test. Workers are played: a browser on a busy machine may take longer than the usual lease of the tests."""
    with open_api(settings.model_copy(update={"lease_s": 120.0})) as opened:
        yield opened


class Visitor:
    """Somebody in front of the page; notes every complaint of the browser."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(f"{error} {error.stack}"))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, place: str = "") -> None:
        """Go to the page, or to a place of it."""
        self.page.goto(f"{self.url}/{place}")

    def choose(self, photos: list[tuple[str, bytes]], field: str = "#file-input") -> None:
        """Choose photographs."""
        self.page.set_input_files(field, [{"name": n, "mimeType": "image/jpeg", "buffer": d} for n, d in photos])

    def see_result(self) -> None:
        """Wait until all points are drawn."""
        self.page.wait_for_selector("canvas[data-ready]", timeout=30_000)

    def picture(self) -> NDArray[np.uint8]:
        """What the canvas shows, (H, W, 3) in CSS pixels."""
        shot = self.page.locator(".stage canvas").screenshot(scale="css")
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))

    def spot(self, colour: tuple[int, int, int]) -> tuple[int, float, float]:
        """How many pixels have a colour, and their middle (x, y)."""
        picture = self.picture().astype(int)
        rows, columns = np.nonzero(np.abs(picture - colour).max(axis=2) < 24)
        return len(rows), float(columns.mean()) if len(rows) else -1.0, float(rows.mean()) if len(rows) else -1.0

    def job_id(self) -> str:
        """The job in the address."""
        self.page.wait_for_url(re.compile(r"#/jobs/job_"))
        return self.page.url.rpartition("/")[2]

    def download(self, selector: str) -> bytes:
        """Press a download button; gives the file."""
        with self.page.expect_download() as waiting:
            self.page.click(selector)
        return Path(waiting.value.path()).read_bytes()


def eventually(condition: Callable[[], T], timeout_s: float = 15.0) -> T:
    """Ask until the answer is true; gives the last one."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer
    return answer


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a module."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    expect.set_options(timeout=15_000)  # machines that run tests are busy
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@contextlib.contextmanager
def visit(
    browser: Browser, url: str, expected: str = r"(?!)", init: str = "", elsewhere: str = "", **options: Any
) -> Iterator[Visitor]:
    """Somebody with a fresh profile. At the end the browser must have complained of nothing but what is expected."""
    context: BrowserContext = browser.new_context(reduced_motion="reduce", **{**DESKTOP, **options})
    context.set_default_timeout(20_000)
    if init:
        context.add_init_script(init)
    visitor = Visitor(context.new_page(), url)
    try:
        yield visitor
        assert [each for each in visitor.complaints if not re.search(expected, each)] == []
        origins = {"/".join(each.split("/", 3)[:3]) for each in visitor.requests if not each.startswith("blob:")}
        assert origins <= {url.removesuffix("/m3r"), elsewhere}, "the page asks nobody but the service"
    finally:
        context.close()


def finished_job(api: Api, photos: int = 3, left_out: int = 0, warnings: tuple[str, ...] = ()) -> str:
    """Submit photographs and publish the known scene as their result; gives the job's id."""
    job = api.new_job(photos, labels=json.dumps({"name": "Wall"}))
    publish(api, job["id"], left_out, warnings)
    return str(job["id"])


def publish(api: Api, job_id: str, left_out: int = 0, warnings: tuple[str, ...] = (), token: str | None = None) -> JobResult:
    """Publish the known scene as a job's result."""
    names = [image.name for image in api.record(job_id).images]
    files = known_scene(names, left_out)
    placed = len(names) - left_out
    photos = [PhotoQuality(name=name, registered=True, component=0) for name in names[:placed]]
    photos += [PhotoQuality(name=name, registered=False, component=-1, reason=TOO_LITTLE) for name in names[placed:]]
    reasons = [f"{left_out} of {len(names)} photographs are not registered"] if left_out else []
    quality = Quality(verdict="fair" if left_out else "good", reasons=reasons, photos=photos)
    return api.commit(job_id, token or api.claim(job_id), files, quality=quality, warnings=list(warnings))


__all__ = ["PHONE", "Visitor", "api", "browser", "eventually", "finished_job", "good_photos", "known_scene", "publish", "visit"]
