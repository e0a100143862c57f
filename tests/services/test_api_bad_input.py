"""Whatever clients send: the status, the problem's code, which photo it was, and that nothing is left behind."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from services.adapters.settings import Settings
from tests.services import bad_files
from tests.services.api_stand import Api, api, assert_problem, good_photos, open_api
from tests.services.service_stand import wait_for

__all__ = ["api"]


@pytest.fixture
def small_api(settings: Settings) -> Iterator[Api]:
    """An API with small limits."""
    changes: dict[str, Any] = {
        "max_photos": 5,
        "max_photo_bytes": 20_000,
        "max_capture_bytes": 200_000,
        "max_archive_entries": 12,
    }
    with open_api(settings.model_copy(update=changes)) as opened:
        yield opened


def assert_nothing_left(api: Api) -> None:
    """No job, no capture."""
    assert api.http.get("/v1/jobs").json()["items"] == []
    assert api.stored("captures/") == []
    assert api.stored("jobs/") == []
    assert api.store.counts()["queued"] == 0


BAD_PHOTOS = {
    "text.jpg": bad_files.text_as_photo(),
    "cut.jpg": bad_files.truncated(bad_files.photo(1)),
    "cut.png": bad_files.truncated(bad_files.photo(1, "PNG")),
    "cut.webp": bad_files.truncated(bad_files.photo(1, "WEBP")),
    "cut.tif": bad_files.truncated(bad_files.photo(1, "TIFF")),
    "cut.heic": bad_files.truncated(bad_files.photo(1, "HEIC")),
    "bomb.webp": bad_files.SIXTY_FOUR_MEGAPIXELS.read_bytes(),
    "bomb.png": bad_files.huge_png_header(),
    "dot.png": bad_files.one_pixel(),
    "empty.jpg": b"",
    "gif.jpg": b"GIF89a" + bytes(100),
    "stripe.png": bad_files.photo(1, "PNG", (400, 20)),
}


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_an_unusable_photo_among_good_ones_is_a_warning_that_names_it(api: Api, name: str) -> None:
    answer = api.submit(*good_photos(2), (name, BAD_PHOTOS[name]))
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert [w for w in job["warnings"] if name in w], job["warnings"]
    assert [image.name for image in api.record(job["id"]).images] == ["photo_0.jpg", "photo_1.jpg"]


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_an_unusable_photo_alone_is_refused(api: Api, name: str) -> None:
    problem = assert_problem(api.submit((name, BAD_PHOTOS[name])), 422, "invalid_image")
    assert [error["pointer"] for error in problem["errors"]] == ["/images/0"]
    assert name in problem["errors"][0]["message"]
    assert_nothing_left(api)


def test_strict_images_refuses_all_and_names_each(api: Api) -> None:
    photos = [good_photos(1)[0], ("text.jpg", BAD_PHOTOS["text.jpg"]), ("cut.jpg", BAD_PHOTOS["cut.jpg"])]
    problem = assert_problem(api.submit(*photos, strict_images="true"), 422, "invalid_image")
    assert [error["pointer"] for error in problem["errors"]] == ["/images/1", "/images/2"]
    assert_nothing_left(api)


def test_the_64_megapixel_photo_is_small_and_is_refused_by_its_header(api: Api) -> None:
    assert bad_files.SIXTY_FOUR_MEGAPIXELS.stat().st_size < 3000
    started = time.process_time()
    problem = assert_problem(api.submit(("a.webp", BAD_PHOTOS["bomb.webp"])), 422, "invalid_image")
    assert time.process_time() - started < 1.0  # decoding it takes longer
    assert "64000000 pixels; the limit is 60000000" in problem["detail"]


def test_a_photo_of_countless_segments_is_refused_quickly(api: Api) -> None:
    started = time.process_time()
    assert_problem(api.submit(("a.jpg", bad_files.endless_segments())), 422, "invalid_image")
    assert time.process_time() - started < 1.5


@pytest.mark.parametrize(
    "data",
    [
        bad_files.sixteen_bit_png(),
        bad_files.sixteen_bit_tiff(),
        bad_files.cmyk_jpeg(),
        bad_files.photo(1, "HEIC"),
        bad_files.photo(1, "WEBP"),
        bad_files.photo(1, "JPEG", progressive=True),
        bad_files.photo(1) + bad_files.noise(3000),  # phones append videos
    ],
    ids=["16-bit PNG", "16-bit TIFF", "CMYK JPEG", "HEIC", "WebP", "progressive", "trailing data"],
)
def test_unusual_photos_are_taken(api: Api, data: bytes) -> None:
    answer = api.submit(*good_photos(1), ("unusual", data), strict_images="true")
    assert answer.status_code == 202, answer.text
    image = api.record(answer.json()["id"]).images[1]
    assert (image.width, image.height, image.bytes) == (64, 48, len(data))


def test_no_photo(api: Api) -> None:
    problem = assert_problem(api.http.post("/v1/reconstructions", files={"preset": (None, "fast")}), 422, "too_few_images")
    assert problem["errors"][0]["pointer"] == "/images"
    assert_nothing_left(api)


def test_one_photo_is_taken_with_a_warning(api: Api) -> None:
    answer = api.submit(*good_photos(1))
    assert answer.status_code == 202
    assert any("only one usable photo" in warning for warning in answer.json()["warnings"])


def test_500_photos_beyond_the_limit(api: Api) -> None:
    photo = bad_files.photo(1, size=(16, 16))
    answer = api.submit(*((f"{n}.jpg", photo) for n in range(api.settings.max_photos + 500)))
    problem = assert_problem(answer, 422, "too_many_images")
    assert "200" in problem["detail"]
    assert_nothing_left(api)


def test_duplicate_names(api: Api) -> None:
    problem = assert_problem(api.submit(("a.jpg", bad_files.photo(1)), ("sub/a.jpg", bad_files.photo(2))), 422, "duplicate_name")
    assert "a.jpg" in problem["detail"]
    assert problem["errors"][0]["pointer"] == "/images/1"
    assert_nothing_left(api)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd.jpg", "passwd.jpg"),
        ("C:\\photos\\a.jpg", "a.jpg"),
        ("bell\x7f\u200b\u202e.jpg", "bell.jpg"),
        ("..", "image_000"),
        (".hidden.jpg", "hidden.jpg"),
        ("Ünïcode 写真.jpg", "Ünïcode 写真.jpg"),
    ],
)
def test_names_become_safe(api: Api, name: str, kept: str) -> None:
    answer = api.submit((name, bad_files.photo(1)))
    assert answer.status_code == 202, answer.text
    record = api.record(answer.json()["id"])
    assert [image.name for image in record.images] == [kept]
    assert api.stored(f"captures/{record.capture_id}/") == [f"captures/{record.capture_id}/images/{kept}"]


def test_a_long_name_is_shortened_and_keeps_its_suffix(api: Api) -> None:
    answer = api.submit(("é" * 300 + ".jpg", bad_files.photo(1)))
    (image,) = api.record(answer.json()["id"]).images
    assert image.name.endswith("é.jpg")
    assert len(image.name.encode()) <= 180


BAD_ARCHIVES = {
    "parent": (bad_files.zip_with_parent_path(), "'..'"),
    "absolute": (bad_files.zip_with_absolute_path(), "relative"),
    "link": (bad_files.zip_with_link(), "links"),
    "encrypted": (bad_files.encrypted_zip(), "encrypted"),
    "nested": (bad_files.nested_zip(), "archives inside"),
    "bomb": (bad_files.zip_bomb(), "inflates more than 100 times"),
    "not a zip": (bad_files.photo(1), "not a zip file"),
    "cut": (bad_files.truncated(bad_files.make_zip({"a.jpg": bad_files.photo(1)})), "cut off"),
    "empty": (b"", "not a zip file"),
}


@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_bad_archives(api: Api, kind: str) -> None:
    archive, reason = BAD_ARCHIVES[kind]
    problem = assert_problem(api.submit_archive(archive), 422, "invalid_archive")
    assert reason in problem["detail"]
    assert problem["errors"][0]["pointer"] == "/archive"
    assert_nothing_left(api)


def test_an_archive_that_lies_about_its_sizes(api: Api) -> None:
    answer = api.submit_archive(bad_files.lying_zip_bomb())
    assert answer.status_code == 202, answer.text  # the honest photo is used, the lying entry is not
    assert [image.name for image in api.record(answer.json()["id"]).images] == ["a.jpg"]
    assert any("bomb.jpg" in warning for warning in answer.json()["warnings"])


def test_an_archive_with_too_many_entries(small_api: Api) -> None:
    many = bad_files.make_zip({f"{n}.txt": b"x" for n in range(13)})
    assert "13 entries; the limit is 12" in assert_problem(small_api.submit_archive(many), 422, "invalid_archive")["detail"]
    photos = bad_files.make_zip({f"{n}.jpg": bad_files.photo(n) for n in range(6)})
    assert_problem(small_api.submit_archive(photos), 422, "too_many_images")
    assert_nothing_left(small_api)


def test_an_archive_with_a_file_beyond_the_limit(small_api: Api) -> None:
    big = bad_files.make_zip({"a.jpg": bad_files.photo(1), "b.jpg": bad_files.noise(30_000)})
    assert_problem(small_api.submit_archive(big), 413, "too_large")
    assert_nothing_left(small_api)


def test_a_good_archive_with_clutter(api: Api) -> None:
    archive = bad_files.make_zip(
        {
            "set/a.jpg": bad_files.photo(1),
            "set/b.png": bad_files.photo(2, "PNG"),
            "__MACOSX/set/._a.jpg": b"clutter",
            "set/.DS_Store": b"clutter",
            "set/notes.txt": b"taken on Monday",
            "set/fake.jpg": bad_files.text_as_photo(),
        }
    )
    answer = api.submit_archive(archive)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert [image.name for image in api.record(job["id"]).images] == ["a.jpg", "b.png"]
    assert len(job["warnings"]) == 2
    assert any("notes.txt" in warning for warning in job["warnings"])
    assert any("fake.jpg" in warning for warning in job["warnings"])


def test_an_archive_beside_photos(api: Api) -> None:
    files = [("images", good_photos(1)[0]), ("archive", ("a.zip", bad_files.make_zip({"b.jpg": bad_files.photo(2)})))]
    assert_problem(api.http.post("/v1/reconstructions", files=files), 422, "invalid_request")
    assert_nothing_left(api)


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ('{"nonsense": 1}', "/options/nonsense"),
        ('{"matching": {"subsample": 8, "depth": 2}}', "/options/matching/depth"),
        ('{"matching": {"subsample": "8"}}', "/options/matching/subsample"),
        ('{"image_size": NaN}', "/options"),
        ("{", "/options"),
        ("[]", "/options"),
        ('{"pairs": [[0, 1], [0, 7]]}', "/options/pairs/1"),
    ],
)
def test_unknown_and_wrong_options(api: Api, options: str, pointer: str) -> None:
    problem = assert_problem(api.submit(*good_photos(2), options=options), 422, "invalid_options")
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert_nothing_left(api)


@pytest.mark.parametrize(
    ("field", "value", "pointer"),
    [
        ("preset", "best", "/preset"),
        ("outputs", "scene.ply,hologram", "/outputs/1"),
        ("outputs", '["scene.ply", 3]', "/outputs"),
        ("labels", '{"a": 1}', "/labels"),
        ("labels", "site", "/labels"),
        ("strict_images", "perhaps", "/strict_images"),
        ("capture_id", "cap_1", "/capture_id"),
    ],
)
def test_wrong_fields(api: Api, field: str, value: str, pointer: str) -> None:
    problem = assert_problem(api.submit(*good_photos(2), **{field: value}), 422, "invalid_request")
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert_nothing_left(api)


def test_pairs_allow_no_photo_to_be_left_out(api: Api) -> None:
    answer = api.submit(*good_photos(2), ("text.jpg", BAD_PHOTOS["text.jpg"]), options='{"pairs": [[0, 1]]}')
    assert_problem(answer, 422, "invalid_image")


def test_a_photo_part_without_a_file_name(api: Api) -> None:
    problem = assert_problem(api.submit(*good_photos(1), images="text"), 422, "invalid_request")
    assert "file name is missing" in problem["detail"]


def test_a_photo_beyond_the_limit(small_api: Api) -> None:
    problem = assert_problem(small_api.submit(("big.jpg", bad_files.noise(30_000))), 413, "too_large")
    assert "big.jpg" in problem["detail"]
    assert "20000" in problem["detail"]
    assert_nothing_left(small_api)


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(small_api: Api) -> None:
    head = (
        b"POST /v1/reconstructions HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 99999999999\r\n\r\n"
    )
    with connect(small_api) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    assert_nothing_left(small_api)


def test_a_body_that_grows_beyond_the_limit(small_api: Api) -> None:
    def endless() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="archive"; filename="a.zip"\r\n\r\n'
        for _ in range(40):
            yield bytes(10_000)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = small_api.http.post("/v1/reconstructions", content=endless(), headers=headers)
    assert_problem(answer, 413, "too_large")
    assert_nothing_left(small_api)


def whole_body() -> bytes:
    """Two photographs as a multipart body with boundary b."""
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="images"; filename="%s"\r\n\r\n%s\r\n' % (name.encode(), data)
        for name, data in good_photos(2)
    ]
    return b"".join(parts) + b"--b--\r\n"


def test_a_body_that_ends_before_its_last_boundary(api: Api) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert api.http.post("/v1/reconstructions", content=whole_body(), headers=headers).status_code == 202
    before = len(api.stored("captures/"))
    answer = api.http.post("/v1/reconstructions", content=whole_body()[:-300], headers=headers)
    problem = assert_problem(answer, 400, "incomplete_body")
    assert problem["retryable"]
    assert len(api.stored("captures/")) == before
    assert api.store.counts()["queued"] == 1


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_connection_cut_in_the_middle_of_the_body_leaves_nothing(api: Api, share: float) -> None:
    body = whole_body()
    head = (
        "POST /v1/reconstructions HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"X-Request-Id: cut-{share}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with connect(api) as connection:
        connection.sendall(head.encode() + body[: int(len(body) * share)])
        if share >= 0.9:
            wait_for(lambda: api.stored("captures/"), what="the first photo in the store")
    wait_for(lambda: not api.stored("captures/"), what="an empty store")
    assert_nothing_left(api)
    assert api.submit(*good_photos(2)).status_code == 202  # and the next one is served


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("application/json", b'{"capture_id": "cap_1"}', 422, "invalid_request"),
        ("text/json", b'{"capture_id": "cap_1"}', 415, "unsupported_media_type"),
        ("", b"x", 415, "unsupported_media_type"),
        ("multipart/form-data", b"x", 400, "invalid_request"),
        ("multipart/form-data; boundary=b", b"garbage that is no part", 400, "invalid_request"),
        ("multipart/form-data; boundary=b", b"--b\r\nX-Nothing: 1\r\n\r\ndata\r\n--b--\r\n", 400, "invalid_request"),
        ("multipart/form-data; boundary=b", b"", 400, "incomplete_body"),
    ],
)
def test_bodies_that_are_no_form(api: Api, content_type: str, body: bytes, status: int, code: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert_problem(api.http.post("/v1/reconstructions", content=body, headers=headers), status, code)
    assert_nothing_left(api)


def connect(api: Api) -> socket.socket:
    """A bare connection."""
    address = urlsplit(api.url)
    assert address.hostname is not None
    return socket.create_connection((address.hostname, address.port or 80), timeout=20)
