"""Signed links: what a browser fetches by itself works without a key, for a short time, and nothing else does."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pillow_heif
import pytest
from PIL import Image

from services.adapters.link_secrets import LinkSecrets
from services.adapters.settings import Settings
from services.api import signed_links
from services.api.thumbnails import SIDE, make_thumbnail
from services.contract import keys
from tests.services.api_stand import Api, api, assert_problem, good_photos
from tests.services.tenant_stand import Tenants, open_tenants, tenants

__all__ = ["api", "tenants"]


@pytest.fixture
def anyone(tenants: Tenants) -> Iterator[httpx.Client]:
    """A browser: it has no key."""
    with httpx.Client(base_url=tenants.api.url, timeout=30) as client:
        yield client


def finished_job(tenants: Tenants) -> tuple[str, dict[str, Any]]:
    """A job with a result, and its signed links."""
    job_id = tenants.api.new_job()["id"]
    tenants.api.finish(job_id, {"scene.ply": b"ply\n" * 100, "a b/ü.json": b"{}"})
    answer = tenants.first.get(f"/v1/jobs/{job_id}/links")
    assert answer.headers["cache-control"] == "no-store"
    return job_id, dict(answer.json())


def changed(url: str, **changes: str) -> str:
    """The URL with other query parameters."""
    parts = urlsplit(url)
    return parts._replace(query=urlencode({**dict(parse_qsl(parts.query)), **changes})).geturl()


def test_a_browser_follows_the_links_of_a_job(tenants: Tenants, anyone: httpx.Client) -> None:
    job_id, links = finished_job(tenants)
    assert tenants.api.job(job_id)["links"]["signed"] == f"{tenants.api.url}/v1/jobs/{job_id}/links"
    assert anyone.get(links["artifacts"]["scene.ply"]).content == b"ply\n" * 100
    assert anyone.get(links["artifacts"]["a b/ü.json"]).content == b"{}"
    part = anyone.get(links["artifacts"]["scene.ply"], headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"ply\n")
    assert anyone.head(links["archive"]).headers["content-type"] == "application/zip"
    assert anyone.get(links["archive"]).content.startswith(b"PK")
    assert f'"id":"{job_id}"' in anyone.get(links["events"]).text
    assert set(links["thumbnails"]) == {"photo_0.jpg", "photo_1.jpg"}
    assert anyone.get(links["thumbnails"]["photo_0.jpg"]).headers["content-type"] == "image/jpeg"


def test_a_job_without_a_result_has_links_to_its_events_and_photographs(tenants: Tenants) -> None:
    job_id = tenants.api.new_job()["id"]
    links = tenants.first.get(f"/v1/jobs/{job_id}/links").json()
    assert (links["archive"], links["artifacts"]) == (None, {})
    assert links["events"]
    assert len(links["thumbnails"]) == 2


def test_a_link_opens_one_thing_for_reading(tenants: Tenants, anyone: httpx.Client) -> None:
    job_id, links = finished_job(tenants)
    query = urlsplit(links["events"]).query
    other_job = tenants.api.new_job()["id"]
    for path in (
        f"/v1/jobs/{job_id}",
        f"/v1/jobs/{job_id}/artifacts",
        f"/v1/jobs/{job_id}/artifacts/scene.ply",
        f"/v1/jobs/{other_job}/events",
        "/v1/jobs",
    ):
        assert_problem(anyone.get(f"{path}?{query}"), 401, "unauthorized")
    for method in ("DELETE", "PUT", "POST"):
        assert anyone.request(method, links["events"]).status_code == 405
    assert_problem(anyone.delete(f"/v1/jobs/{job_id}?{query}"), 401, "unauthorized")


def test_no_other_route_takes_a_link_however_well_it_is_signed(tenants: Tenants, anyone: httpx.Client) -> None:
    job_id, links = finished_job(tenants)
    secret = LinkSecrets(tenants.api.objects).current()
    signature = signed_links.Signature(secret, "first", tenants.api.url, 900, time.time())
    events = f"{tenants.api.url}/v1/jobs/{job_id}/events"
    assert signature.sign(events) == links["events"]
    for path in (f"/v1/jobs/{job_id}", "/v1/jobs", "/metrics", f"/v1/jobs/{job_id}/links"):
        assert_problem(anyone.get(signature.sign(tenants.api.url + path)), 401, "unauthorized")


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "second"},
        {"exp": "99999999999"},
        {"exp": "-1"},
        {"exp": "١٢"},
        {"exp": ""},
        {"sig": "x"},
        {"sig": ""},
        {"sig": "é.é"},
        {"sig": "00000000.AAAA"},
    ],
)
def test_a_changed_link_is_refused(tenants: Tenants, anyone: httpx.Client, changes: dict[str, str]) -> None:
    _, links = finished_job(tenants)
    answer = anyone.get(changed(links["events"], **changes))
    assert "signature is wrong" in assert_problem(answer, 401, "unauthorized")["detail"]


def test_a_link_ends(tenants: Tenants, anyone: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    _, links = finished_job(tenants)
    lifetime = tenants.api.settings.signed_link_s
    left = datetime.fromisoformat(links["expires_at"]) - datetime.now(UTC)
    assert lifetime - 5 <= left.total_seconds() <= 2 * lifetime
    ended = datetime.fromisoformat(links["expires_at"]).timestamp()
    monkeypatch.setattr(signed_links.time, "time", lambda: ended)
    assert "has ended" in assert_problem(anyone.get(links["events"]), 401, "unauthorized")["detail"]


def test_the_same_link_is_given_again_for_a_while(tenants: Tenants, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_links.time, "time", lambda: 900_000 + 1.0)
    job_id, links = finished_job(tenants)
    monkeypatch.setattr(signed_links.time, "time", lambda: 900_000 + 899.0)
    assert tenants.first.get(f"/v1/jobs/{job_id}/links").json() == links
    monkeypatch.setattr(signed_links.time, "time", lambda: 900_000 + 900.0)
    assert tenants.first.get(f"/v1/jobs/{job_id}/links").json()["events"] != links["events"]


def test_two_processes_agree_and_a_restart_changes_nothing(tenants: Tenants) -> None:
    _, links = finished_job(tenants)
    with open_tenants(tenants.api.settings) as other, httpx.Client() as browser:
        moved = links["events"].replace(tenants.api.url, other.api.url)
        assert browser.get(moved).status_code == 200


def test_rotation_keeps_the_links_handed_out_until_they_are_to_end_at_once(
    tenants: Tenants, anyone: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signed_links, "FRESH_S", 0.0)
    with open_tenants(tenants.api.settings) as fresh:  # made after the patch: it looks at the secrets at every request
        secrets = LinkSecrets(fresh.api.objects)
        _, links = finished_job(fresh)
        secrets.rotate()
        assert anyone.get(links["events"].replace(tenants.api.url, fresh.api.url)).status_code == 200
        _, newer = finished_job(fresh)
        assert len(secrets.all()) == 2
        secrets.rotate(older=True)
        assert len(secrets.all()) == 1
        for url in (links["events"], newer["events"]):
            assert_problem(anyone.get(url), 401, "unauthorized")


def test_links_honour_the_proxy_prefix(settings: Settings) -> None:
    changes = {"root_path": "/m3r/", "public_base_url": "https://m3r.example/m3r/"}
    with open_tenants(settings.model_copy(update=changes)) as proxied, httpx.Client() as browser:
        _, links = finished_job(proxied)
        url = links["artifacts"]["scene.ply"]
        assert url.startswith("https://m3r.example/m3r/v1/jobs/")
        for reached in (proxied.api.url, proxied.api.url + "/m3r"):  # some proxies strip the prefix, some do not
            assert browser.get(url.replace("https://m3r.example/m3r", reached)).status_code == 200


def test_without_keys_links_work_too(api: Api) -> None:
    job_id = api.new_job()["id"]
    links = api.http.get(f"/v1/jobs/{job_id}/links").json()
    assert api.http.get(links["thumbnails"]["photo_1.jpg"]).status_code == 200
    assert api.http.get(links["thumbnails"]["photo_1.jpg"].partition("?")[0]).status_code == 200


def capture_with(tenants: Tenants, name: str, data: bytes) -> str:
    """A capture with one photograph."""
    capture_id = tenants.first.post("/v1/captures").json()["id"]
    assert tenants.first.put(f"/v1/captures/{capture_id}/images/{name}", content=data).status_code == 201
    return str(capture_id)


def test_the_thumbnails_of_a_capture(tenants: Tenants, anyone: httpx.Client) -> None:
    capture_id = capture_with(tenants, "a b.jpg", good_photos(1)[0][1])
    links = tenants.first.get(tenants.first.get(f"/v1/captures/{capture_id}").json()["links"]["signed"]).json()
    answer = anyone.get(links["thumbnails"]["a b.jpg"])
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.format, picture.mode) == ("JPEG", "RGB")
    unchanged = anyone.get(links["thumbnails"]["a b.jpg"], headers={"If-None-Match": answer.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    kept = tenants.api.objects.read(keys.capture_thumbnail(capture_id, "a b.jpg"))
    assert hashlib.sha256(kept).digest() == hashlib.sha256(answer.content).digest()
    assert_problem(anyone.get(f"/v1/captures/{capture_id}/images/a b.jpg/thumbnail"), 401, "unauthorized")
    assert_problem(tenants.first.get(f"/v1/captures/{capture_id}/images/b.jpg/thumbnail"), 404, "not_found")
    assert tenants.first.delete(f"/v1/captures/{capture_id}").status_code == 204
    assert tenants.api.stored(keys.capture_prefix(capture_id)) == []
    assert_problem(anyone.get(links["thumbnails"]["a b.jpg"]), 410, "gone")


def test_a_thumbnail_of_a_photograph_that_is_gone(tenants: Tenants) -> None:
    capture_id = capture_with(tenants, "a.jpg", good_photos(1)[0][1])
    tenants.api.objects.delete(keys.capture_image(capture_id, "a.jpg"))
    assert_problem(tenants.first.get(f"/v1/captures/{capture_id}/images/a.jpg/thumbnail"), 410, "gone")


def encoded(image: Image.Image, kind: str, **options: Any) -> io.BytesIO:
    """An image file."""
    target = io.BytesIO()
    if kind == "HEIC":
        pillow_heif.from_pillow(image).save(target, **options)
    else:
        image.save(target, kind, **options)
    target.seek(0)
    return target


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIC"])
def test_a_thumbnail_is_small_and_shows_the_photograph(kind: str) -> None:
    photo = Image.new("RGB", (1600, 800), (200, 30, 40))
    small = Image.open(io.BytesIO(make_thumbnail(encoded(photo, kind), 10**7)))
    assert small.size == (SIDE, SIDE // 2)
    assert all(abs(got - want) < 12 for got, want in zip(small.getpixel((50, 50)), (200, 30, 40)))  # type: ignore[arg-type]


def test_a_thumbnail_is_never_larger_than_the_photograph() -> None:
    assert Image.open(io.BytesIO(make_thumbnail(encoded(Image.new("RGB", (64, 48)), "PNG"), 10**7))).size == (64, 48)


def test_a_thumbnail_is_upright_and_tells_nothing() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a maker"  # turned by a quarter
    made = make_thumbnail(encoded(Image.new("RGB", (1000, 500)), "JPEG", exif=exif), 10**7)
    small = Image.open(io.BytesIO(made))
    assert small.size == (SIDE // 2, SIDE)
    assert not small.getexif()
    assert b"a maker" not in made


@pytest.mark.parametrize(("mode", "value", "shown"), [("I;16", 65535, 255), ("L", 90, 90), ("RGBA", (0, 0, 0, 0), 255)])
def test_other_pixels_are_shown_as_they_look(mode: str, value: Any, shown: int) -> None:
    made = make_thumbnail(encoded(Image.new(mode, (100, 80), value), "PNG"), 10**7)
    assert abs(Image.open(io.BytesIO(made)).convert("L").getpixel((50, 40)) - shown) <= 2  # type: ignore[operator]


def test_a_thumbnail_that_cannot_be_made_is_refused_by_name(tenants: Tenants) -> None:
    wide = encoded(Image.new("RGB", (400, 400)), "PNG").getvalue()
    damaged = wide.replace(wide[wide.index(b"IDAT") + 8 : wide.index(b"IDAT") + 40], bytes(32))
    capture_id = capture_with(tenants, "a.png", damaged)
    problem = assert_problem(tenants.first.get(f"/v1/captures/{capture_id}/images/a.png/thumbnail"), 422, "invalid_image")
    assert "'a.png'" in problem["detail"]


def test_a_thumbnail_of_too_many_pixels_is_refused_before_they_are_decoded() -> None:
    from services.api.photos import UnusablePhotoError

    bomb = encoded(Image.new("L", (5000, 5000)), "PNG")
    began = time.process_time()
    with pytest.raises(UnusablePhotoError, match="the limit is 1000000"):
        make_thumbnail(bomb, 10**6)
    assert time.process_time() - began < 1
