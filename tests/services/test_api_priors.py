"""What is known beforehand, over HTTP: into captures and beside photographs; replaced, kept for jobs, refused before queueing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from services.adapters.prior_store import PriorStore
from services.adapters.settings import Settings
from services.adapters.usage import UsageMeter
from services.contract.jobs import PriorFile
from services.contract.keys import capture_prior
from tests.services.api_stand import Api, api, assert_problem, good_photos, open_api
from tests.services.bad_files import encode, photo
from tests.services.prior_documents import RIGHT, SIZE, WRONG, camera, of, turned

__all__ = ["api"]

PNG_HEADER = b"\x89PNG\r\n\x1a\n"
CAMERAS = {"photos": {"photo_0.jpg": {"camera": camera(), "pose": {"cam2world": turned()}}}}


def mask(size: tuple[int, int] = SIZE, seed: int = 0, mode: str = "L") -> bytes:
    """A mask whose left half may be used."""
    use = np.zeros(size[::-1], np.uint8)
    use[:, : size[0] // 2 + seed] = 255
    return encode(Image.fromarray(use).convert(mode), "PNG")


def depth(size: tuple[int, int] = SIZE, millimetres: int = 2500) -> bytes:
    """A wall."""
    return encode(Image.fromarray(np.full(size[::-1], millimetres, np.uint16)), "PNG")


def new_capture(api: Api, count: int = 2) -> str:
    """A capture with photographs."""
    capture = str(api.http.post("/v1/captures").json()["id"])
    for name, data in good_photos(count):
        assert api.http.put(f"/v1/captures/{capture}/images/{name}", content=data).status_code == 201
    return capture


def put(api: Api, capture: str, kind: str, name: str, data: bytes, **headers: str) -> httpx.Response:
    """Put a mask or a depth map."""
    return api.http.put(f"/v1/captures/{capture}/{kind}/{name}", content=data, headers=headers)


def put_cameras(api: Api, capture: str, document: Any) -> httpx.Response:
    """Put a cameras document, NaN and all."""
    return api.http.put(f"/v1/captures/{capture}/cameras", content=json.dumps(document).encode())


def seen(api: Api, capture: str) -> dict[str, Any]:
    """Read a capture."""
    return dict(api.http.get(f"/v1/captures/{capture}").json())


def submit(api: Api, capture: str, key: str = "") -> httpx.Response:
    """Make a job of a capture."""
    headers = {"Idempotency-Key": key} if key else {}
    return api.http.post("/v1/reconstructions", json={"capture_id": capture}, headers=headers)


def files_in(api: Api, capture: str) -> int:
    """How many files of priors lie in the store."""
    return len(api.stored(f"captures/{capture}/priors/files/"))


def test_everything_of_a_capture_is_there_to_be_seen_and_goes_with_the_job(api: Api) -> None:
    capture = new_capture(api)
    assert api.http.get(f"/v1/captures/{capture}/cameras").json() == {}
    answer = put_cameras(api, capture, CAMERAS)
    assert (answer.status_code, answer.json()) == (200, CAMERAS)
    assert api.http.get(f"/v1/captures/{capture}/cameras").json() == CAMERAS
    digest = base64.b64encode(hashlib.sha256(mask()).digest()).decode()
    answer = put(api, capture, "masks", "photo_1.jpg", mask(), **{"Content-Digest": f"sha-256=:{digest}:"})
    assert answer.status_code == 201, answer.text
    told = {"name": "photo_1.jpg", "bytes": len(mask()), "sha256": hashlib.sha256(mask()).hexdigest(), "width": 64, "height": 48}
    assert answer.json() == told
    assert put(api, capture, "depths", "photo_0.jpg", depth()).status_code == 201
    shown = seen(api, capture)
    assert shown["masks"] == [told]
    assert [each["name"] for each in shown["depths"]] == ["photo_0.jpg"]
    assert shown["bytes"] == sum(len(photo(n)) for n in (0, 1)) + len(mask()) + len(depth()) + shown["cameras"]["bytes"]
    job = submit(api, capture)
    assert job.status_code == 202, job.text
    record = api.record(job.json()["id"])
    assert [(prior.kind, prior.name) for prior in record.priors] == [
        ("cameras", ""),
        ("depth", "photo_0.jpg"),
        ("mask", "photo_1.jpg"),
    ]
    stored = {prior.kind: api.objects.read(capture_prior(capture, prior.id)) for prior in record.priors}
    assert json.loads(stored.pop("cameras")) == CAMERAS
    assert stored == {"mask": mask(), "depth": depth()}


def test_what_is_put_again_replaces_what_was_there(api: Api) -> None:
    capture = new_capture(api)
    for seed, status in ((0, 201), (1, 200), (1, 200)):
        assert put(api, capture, "masks", "photo_0.jpg", mask(seed=seed)).status_code == status
    assert [each["sha256"] for each in seen(api, capture)["masks"]] == [hashlib.sha256(mask(seed=1)).hexdigest()]
    put_cameras(api, capture, CAMERAS)
    put_cameras(api, capture, {"up": {"dominant_plane": True}})
    assert api.http.get(f"/v1/captures/{capture}/cameras").json() == {"up": {"dominant_plane": True}}
    assert files_in(api, capture) == 2  # no job has the others
    photos = len(photo(0)) + len(photo(1))
    assert seen(api, capture)["bytes"] == photos + len(mask(seed=1)) + seen(api, capture)["cameras"]["bytes"]


def test_what_is_deleted_is_gone_and_may_be_deleted_again(api: Api) -> None:
    capture = new_capture(api)
    put_cameras(api, capture, CAMERAS)
    put(api, capture, "masks", "photo_0.jpg", mask())
    put(api, capture, "depths", "photo_0.jpg", depth())
    for _ in range(2):
        for path in ("cameras", "masks/photo_0.jpg", "depths/photo_0.jpg"):
            assert api.http.delete(f"/v1/captures/{capture}/{path}").status_code == 204
    shown = seen(api, capture)
    assert (shown["cameras"], shown["masks"], shown["depths"]) == (None, [], [])
    assert shown["bytes"] == sum(len(photo(n)) for n in (0, 1))
    assert api.stored(f"captures/{capture}/priors/") == []
    put_cameras(api, capture, CAMERAS)
    assert put_cameras(api, capture, {}).json() == {}  # to say nothing is to take it back
    assert seen(api, capture)["cameras"] is None


def test_a_job_keeps_what_it_was_given_and_another_one_gets_what_holds_then(api: Api) -> None:
    capture = new_capture(api)
    put(api, capture, "masks", "photo_0.jpg", mask())
    first = submit(api, capture).json()["id"]
    assert put(api, capture, "masks", "photo_0.jpg", mask(seed=1)).status_code == 200  # frozen: of photographs alone
    api.http.delete(f"/v1/captures/{capture}/masks/photo_0.jpg")
    put(api, capture, "masks", "photo_1.jpg", mask(seed=2))
    second = submit(api, capture).json()["id"]
    given = {
        job: [(p.name, api.objects.read(capture_prior(capture, p.id))) for p in api.record(job).priors] for job in (first, second)
    }
    assert given == {first: [("photo_0.jpg", mask())], second: [("photo_1.jpg", mask(seed=2))]}
    api.http.post(f"/v1/jobs/{first}/cancel")
    again = api.http.post(f"/v1/jobs/{first}/retry")
    assert again.status_code == 202, again.text
    assert api.record(again.json()["id"]).priors == api.record(first).priors


def test_a_job_whose_mask_was_lost_is_not_done_again(api: Api) -> None:
    capture = new_capture(api)
    put(api, capture, "masks", "photo_0.jpg", mask())
    job = submit(api, capture).json()["id"]
    api.http.post(f"/v1/jobs/{job}/cancel")
    api.objects.delete(capture_prior(capture, api.record(job).priors[0].id))
    assert_problem(api.http.post(f"/v1/jobs/{job}/retry"), 409, "conflict")


def test_everything_survives_an_empty_redis(api: Api) -> None:
    capture = new_capture(api)
    put_cameras(api, capture, CAMERAS)
    for seed in (0, 1):
        put(api, capture, "masks", "photo_0.jpg", mask(seed=seed))
    put(api, capture, "depths", "photo_0.jpg", depth())
    api.http.delete(f"/v1/captures/{capture}/depths/photo_0.jpg")
    before = seen(api, capture)
    for key in api.store.redis.scan_iter(api.settings.key_prefix + "*"):
        api.store.redis.delete(key)
    assert seen(api, capture) == before
    assert api.http.get(f"/v1/captures/{capture}/cameras").json() == CAMERAS
    assert submit(api, capture).status_code == 202


def test_what_redis_forgot_is_found_when_a_job_is_made(api: Api) -> None:
    capture = new_capture(api)
    put(api, capture, "masks", "photo_0.jpg", mask())
    api.store.redis.delete(f"{api.settings.key_prefix}capture:{capture}:priors")
    assert [prior.name for prior in api.record(submit(api, capture).json()["id"]).priors] == ["photo_0.jpg"]


def test_of_two_writers_the_later_one_holds_in_redis_and_in_the_store(api: Api) -> None:
    capture, priors = new_capture(api), PriorStore(api.store, api.objects)
    ids = iter(["2-later", "1-earlier"])
    priors._new_id = lambda: next(ids)  # type: ignore[method-assign]
    for name in ("later", "earlier"):
        prior = PriorFile(id="", kind="mask", name="photo_0.jpg", bytes=1, sha256=name, width=64, height=48)
        priors.put(capture, prior, io.BytesIO(name[:1].encode()))
    for _ in range(2):
        assert [each["sha256"] for each in seen(api, capture)["masks"]] == ["later"]
        assert api.stored(f"captures/{capture}/priors/files/") == [capture_prior(capture, "2-later")]
        for key in api.store.redis.scan_iter(api.settings.key_prefix + "*"):
            api.store.redis.delete(key)


@pytest.mark.parametrize("name", RIGHT)
def test_documents_that_are_right_are_taken_and_given_back(shared: tuple[Api, str], name: str) -> None:
    api, capture = shared
    answer = put_cameras(api, capture, RIGHT[name])
    assert answer.status_code == 200, answer.text
    assert (
        answer.json()
        == api.http.get(f"/v1/captures/{capture}/cameras").json()
        == ({} if name == "version" else without_nulls(RIGHT[name]))
    )


@pytest.mark.parametrize("name", WRONG)
def test_documents_that_are_wrong_are_refused_and_change_nothing(shared: tuple[Api, str], name: str) -> None:
    api, capture = shared
    put_cameras(api, capture, CAMERAS)
    document, pointer = WRONG[name]
    problem = assert_problem(put_cameras(api, capture, document), 422, "invalid_priors")
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert "Value error" not in problem["detail"]
    assert api.http.get(f"/v1/captures/{capture}/cameras").json() == CAMERAS


@pytest.fixture(scope="module")
def shared(redis_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, str]]:
    """One API with an empty capture, for tables of documents."""
    from tests.services.conftest import make_settings

    with open_api(make_settings(redis_server.url, tmp_path_factory.mktemp("priors"))) as opened:
        yield opened, new_capture(opened, 0)


def without_nulls(document: Any) -> Any:
    """As a document is given back."""
    if isinstance(document, dict):
        return {name: without_nulls(value) for name, value in document.items() if value is not None}
    return [without_nulls(value) for value in document] if isinstance(document, list) else document


@pytest.mark.parametrize(
    "document",
    [
        {"photos": {"\ud800": {}}},
        {"shared_cameras": [["\udfff"]]},
        {"distances": [{"first": "a", "second": "\ud800", "metres": 1}]},
        of("", gravity=[0, 1, 0]),
        of("x" * 256, gravity=[0, 1, 0]),
    ],
)
def test_names_that_no_photograph_has(shared: tuple[Api, str], document: Any) -> None:
    api, capture = shared
    assert_problem(put_cameras(api, capture, document), 422, "invalid_priors")


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"\xff", 400), (b'{"a": ' * 3000, 400), (b" " * (1 << 20) + b"{}", 413)]
)
def test_bodies_that_are_no_document(shared: tuple[Api, str], body: bytes, status: int) -> None:
    api, capture = shared
    answer = api.http.put(f"/v1/captures/{capture}/cameras", content=body)
    assert_problem(answer, status, "too_large" if status == 413 else "invalid_request")


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims many pixels and holds few bytes."""
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", ihdr), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return PNG_HEADER + b"".join(parts)


IMAGES: dict[str, tuple[str, bytes, str]] = {
    "a JPEG as mask": ("masks", photo(0), "not a PNG"),
    "nothing as mask": ("masks", b"", "not a PNG"),
    "text as depth": ("depths", b"depth", "not a PNG"),
    "a mask cut off": ("masks", mask()[:-20], "cut off"),
    "a depth map cut in the middle": ("depths", depth()[:60], "cut off"),
    "a mask whose data are damaged": ("masks", mask().replace(b"IDAT", b"IDAT\x00")[: len(mask())], ""),
    "a bomb": ("masks", bomb(60_000, 60_000), "the limit is 60000000"),
    "too few data": ("masks", bomb(64, 4800), "cannot be decoded"),
    "a mask of 16 bits": ("masks", depth(), "16 bits"),
    "a depth map of 8 bits": ("depths", mask(), "16-bit grey"),
    "a depth map in colour": ("depths", mask(mode="RGB"), "16-bit grey"),
    "a mask that uses nothing": ("masks", encode(Image.new("L", SIZE, 127), "PNG"), "uses no pixel"),
    "a depth map that knows nothing": ("depths", depth(millimetres=0), "known nowhere"),
    "a mask of another size": ("masks", mask((48, 64)), "the mask is 48x64 pixels and the photograph 64x48"),
    "a depth map of another size": ("depths", depth((32, 24)), "the depth is 32x24 pixels and the photograph 64x48"),
}


@pytest.fixture(scope="module")
def filled(shared: tuple[Api, str]) -> tuple[Api, str]:
    """A capture with photographs."""
    return shared[0], new_capture(shared[0])


@pytest.mark.parametrize("name", IMAGES)
def test_images_that_are_no_masks_or_depth_maps(filled: tuple[Api, str], name: str) -> None:
    api, capture = filled
    kind, data, told = IMAGES[name]
    problem = assert_problem(put(api, capture, kind, "photo_0.jpg", data), 422, "invalid_priors")
    assert told in problem["detail"]
    assert api.stored(f"captures/{capture}/priors/") == []


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_masks_of_every_usual_kind(filled: tuple[Api, str], mode: str) -> None:
    api, capture = filled
    assert put(api, capture, "masks", "photo_1.jpg", mask(mode=mode)).status_code in (200, 201)
    assert api.http.delete(f"/v1/captures/{capture}/masks/photo_1.jpg").status_code == 204


def test_names_and_sums_and_captures_that_are_wrong(filled: tuple[Api, str]) -> None:
    api, capture = filled
    wrong = base64.b64encode(bytes(32)).decode()
    answer = put(api, capture, "masks", "photo_0.jpg", mask(), **{"Content-Digest": f"sha-256=:{wrong}:"})
    assert_problem(answer, 422, "digest_mismatch")
    assert_problem(put(api, capture, "masks", "x" * 200, mask()), 422, "invalid_request")
    assert_problem(put(api, capture, "masks", "%20a.jpg", mask()), 422, "invalid_request")
    assert_problem(put(api, capture, "nothing", "a.jpg", mask()), 404, "not_found")
    gone = new_capture(api, 1)
    api.http.delete(f"/v1/captures/{gone}")
    for method, path in (
        ("PUT", "cameras"),
        ("GET", "cameras"),
        ("DELETE", "cameras"),
        ("PUT", "masks/a"),
        ("DELETE", "depths/a"),
    ):
        assert_problem(api.http.request(method, f"/v1/captures/{gone}/{path}", content=b"{}"), 410, "gone")


def test_limits_hold_before_the_bytes_and_after(settings: Settings) -> None:
    limits = {"max_photos": 2, "max_photo_bytes": 5000, "max_capture_bytes": 9000}
    with open_api(settings.model_copy(update=limits)) as api:
        capture = new_capture(api, 0)
        noise = encode(Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64), np.uint8)), "PNG")
        for content in (bytes(6000), iter([bytes(3000)] * 2)):  # with a length and without one
            assert_problem(api.http.put(f"/v1/captures/{capture}/masks/a.jpg", content=content), 413, "too_large")
        assert [put(api, capture, "masks", name, noise).status_code for name in ("a", "b", "a")] == [201, 201, 200]
        assert_problem(put(api, capture, "masks", "c", noise), 422, "too_many_images")
        assert_problem(put(api, capture, "depths", "a", depth() + bytes(4000)), 413, "too_large")
        assert files_in(api, capture) == 2


def test_priors_count_towards_a_tenant_s_quota(settings: Settings) -> None:
    with open_api(settings.model_copy(update={"max_tenant_bytes": 100_000})) as api:
        capture = new_capture(api)
        photos = seen(api, capture)["bytes"]
        put(api, capture, "masks", "photo_0.jpg", mask())
        meter = UsageMeter(api.store)
        assert meter.measure("default").bytes == photos + len(mask())
        assert submit(api, capture).status_code == 202
        put(api, capture, "masks", "photo_0.jpg", mask(seed=1))  # the job keeps the first
        assert meter.measure("default").bytes == photos + len(mask()) + len(mask(seed=1))
        answer = api.http.post("/v1/reconstructions", files=[*parts(2), ("masks", ("photo_0.png", mask()))])
        assert answer.status_code == 202
        assert meter.measure("default").bytes == 2 * photos + 2 * len(mask()) + len(mask(seed=1))
        big = encode(Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400), np.uint8)), "PNG")
        assert_problem(put(api, capture, "masks", "other.jpg", big), 429, "quota_exceeded")


def test_what_does_not_fit_the_photographs_is_refused_before_anything_is_queued(api: Api) -> None:
    capture = new_capture(api)
    put_cameras(api, capture, {**of("photo_9.jpg", camera=camera()), "shared_cameras": [["photo_0.jpg", "photo_8.jpg"]]})
    put(api, capture, "masks", "phot0_0.jpg", mask())
    problem = assert_problem(submit(api, capture), 422, "invalid_priors")
    assert [error["pointer"] for error in problem["errors"]] == ["/shared_cameras/0", "/photos/photo_9.jpg", "/masks/phot0_0.jpg"]
    assert "'photo_9.jpg' is not among the photographs: photo_0.jpg, photo_1.jpg" in problem["detail"]
    assert not seen(api, capture)["frozen"]
    assert api.http.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIC"])
def test_sizes_are_those_of_the_upright_photograph(api: Api, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright: 64x48 as stored, 48x64 to be seen
    capture, name = new_capture(api, 0), f"a.{kind.lower()}"
    lying, upright = camera(), camera(width=48, height=64, params=[60.0, 60.0, 23.5, 31.5])
    put_cameras(api, capture, of(name, camera=lying))  # before the photograph: nobody can say
    put(api, capture, "masks", name, mask())
    sent = photo(0, kind, exif=exif.tobytes()) if kind == "HEIC" else photo(0, kind, exif=exif)
    assert api.http.put(f"/v1/captures/{capture}/images/{name}", content=sent).status_code == 201
    problem = assert_problem(submit(api, capture), 422, "invalid_priors")
    assert f"{name}: the camera is 64x48 pixels and the photograph 48x64 (upright, after EXIF rotation)" in problem["detail"]
    assert f"{name}: the mask is 64x48 pixels" in problem["detail"]
    assert_problem(put_cameras(api, capture, of(name, camera=lying)), 422, "invalid_priors")  # now it is known
    assert put_cameras(api, capture, of(name, camera=upright)).status_code == 200
    assert put(api, capture, "masks", name, mask((48, 64))).status_code == 200
    assert submit(api, capture).status_code == 202


def test_a_submission_under_a_key_is_another_one_with_other_priors(api: Api) -> None:
    capture = new_capture(api)
    put_cameras(api, capture, CAMERAS)
    first = submit(api, capture, "k")
    assert first.status_code == 202
    put_cameras(api, capture, dict(reversed(CAMERAS.items())))  # the same, sent again
    replay = submit(api, capture, "k")
    assert (replay.headers.get("idempotent-replayed"), replay.json()["id"]) == ("true", first.json()["id"])
    put(api, capture, "masks", "photo_0.jpg", mask())
    assert_problem(submit(api, capture, "k"), 422, "idempotency_key_reused")
    api.http.delete(f"/v1/captures/{capture}/masks/photo_0.jpg")
    api.http.post(f"/v1/jobs/{first.json()['id']}/cancel")
    assert api.http.delete(f"/v1/captures/{capture}").status_code == 204
    assert submit(api, capture, "k").headers.get("idempotent-replayed") == "true"  # its capture is gone, its answer is not


def parts(count: int) -> list[tuple[str, tuple[str, bytes]]]:
    """Photographs of one body."""
    return [("images", each) for each in good_photos(count)]


def send(api: Api, *files: tuple[str, tuple[str, bytes]], cameras: Any = None, key: str = "", **fields: str) -> httpx.Response:
    """Submit two photographs with what is known of them in one body."""
    data = {**fields, **({} if cameras is None else {"cameras": json.dumps(cameras)})}
    headers = {"Idempotency-Key": key} if key else {}
    return api.http.post("/v1/reconstructions", files=[*files, *parts(2)], data=data, headers=headers)


def test_one_body_with_everything(api: Api) -> None:
    masks = [("masks", ("photo_0.jpg.png", mask())), ("masks", ("photo_1.png", mask(seed=1)))]
    answer = send(api, *masks, ("depths", ("photo_1.jpg", depth())), cameras=CAMERAS)
    assert answer.status_code == 202, answer.text
    record = api.record(answer.json()["id"])
    stored = {(prior.kind, prior.name): api.objects.read(capture_prior(record.capture_id, prior.id)) for prior in record.priors}
    assert json.loads(stored.pop(("cameras", ""))) == CAMERAS
    assert stored == {("mask", "photo_0.jpg"): mask(), ("mask", "photo_1.jpg"): mask(seed=1), ("depth", "photo_1.jpg"): depth()}
    assert [image.name for image in record.images] == ["photo_0.jpg", "photo_1.jpg"]
    file = send(api, ("cameras", ("cameras.json", json.dumps(CAMERAS).encode())))  # curl: -F cameras=@cameras.json
    assert [prior.kind for prior in api.record(file.json()["id"]).priors] == ["cameras"]
    assert api.record(send(api, cameras={}).json()["id"]).priors == []


BODIES: dict[str, tuple[list[tuple[str, tuple[str, bytes]]], Any, str, str, str]] = {
    "a mask of nobody": ([("masks", ("x.png", mask()))], None, "invalid_priors", "/masks/0", "no photograph that was sent"),
    "a mask of another size": (
        [("masks", ("photo_0.png", mask((32, 24))))],
        None,
        "invalid_priors",
        "/masks/photo_0.jpg",
        "32x24",
    ),
    "a mask that is none": ([("masks", ("photo_0.png", photo(0)))], None, "invalid_priors", "/masks/0", "not a PNG"),
    "a second depth map that is none": (
        [("depths", ("photo_0.png", depth())), ("depths", ("photo_1.png", mask()))],
        None,
        "invalid_priors",
        "/depths/1",
        "16-bit",
    ),
    "two masks of one photograph": (
        [("masks", ("photo_0.png", mask())), ("masks", ("photo_0.jpg.png", mask()))],
        None,
        "duplicate_name",
        "/masks",
        "2 files are the mask of 'photo_0.jpg'",
    ),
    "a mask without a name": ([("masks", ("..", mask()))], None, "invalid_priors", "/masks/0", "no photograph"),
    "two photographs with one name": (
        [("images", ("photo_0.jpg", photo(5)))],
        CAMERAS,
        "duplicate_name",
        "/images/1",
        "two photographs",
    ),
    "cameras of nobody": ([], of("x.jpg", camera=camera()), "invalid_priors", "/photos/x.jpg", "not among the photographs"),
    "cameras of another size": (
        [],
        of("photo_0.jpg", camera=camera(width=65)),
        "invalid_priors",
        "/photos/photo_0.jpg",
        "the camera is 65x48 pixels and the photograph 64x48",
    ),
    "a pose that is no rotation": (
        [],
        of("photo_0.jpg", pose={"cam2world": np.ones((4, 4)).tolist()}),
        "invalid_priors",
        "/cameras/photos/photo_0.jpg/pose",
        "no rotation",
    ),
    "cameras that are no object": ([], [1], "invalid_priors", "/cameras", "valid dictionary"),
    "a distance to nobody": (
        [],
        {"distances": [{"first": "photo_0.jpg", "second": "x.jpg", "metres": 1}]},
        "invalid_priors",
        "/distances/0",
        "'x.jpg'",
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_with_wrong_priors_are_refused_and_leave_nothing(shared: tuple[Api, str], name: str) -> None:
    api, _ = shared
    before = (len(api.http.get("/v1/jobs").json()["items"]), api.stored("captures/"))
    files, cameras, code, pointer, told = BODIES[name]
    problem = assert_problem(send(api, *files, cameras=cameras), 422, code)
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert told in problem["detail"]
    assert (len(api.http.get("/v1/jobs").json()["items"]), api.stored("captures/")) == before


def test_what_is_said_of_a_photograph_that_is_left_out_goes_with_it(api: Api) -> None:
    cameras = {**CAMERAS, "shared_cameras": [["photo_1.jpg", "broken.jpg"]]}
    files = [("images", ("broken.jpg", photo(3)[:500])), ("masks", ("broken.png", mask()))]
    answer = send(api, *files, cameras=cameras)
    assert answer.status_code == 202, answer.text
    record = api.record(answer.json()["id"])
    assert [prior.kind for prior in record.priors] == ["cameras"]
    kept = json.loads(api.objects.read(capture_prior(record.capture_id, record.priors[0].id)))
    assert kept == {**CAMERAS, "shared_cameras": [["photo_1.jpg"]], "distances": []}


def test_one_body_under_a_key_is_another_one_with_other_priors(api: Api) -> None:
    masks = ("masks", ("photo_0.png", mask())), ("masks", ("photo_1.png", mask(seed=1)))
    first = send(api, *masks, cameras=CAMERAS, key="k")
    assert first.status_code == 202
    replay = send(api, *reversed(masks), cameras=CAMERAS, key="k")
    assert (replay.headers.get("idempotent-replayed"), replay.json()["id"]) == ("true", first.json()["id"])
    for other in (send(api, *masks, key="k"), send(api, masks[0], cameras=CAMERAS, key="k")):
        assert_problem(other, 422, "idempotency_key_reused")
