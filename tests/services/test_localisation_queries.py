"""Queries over real HTTP, a real Redis-protocol server and a real worker process with a fake engine."""

from __future__ import annotations

import concurrent.futures
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.adapters.embedded import EmbeddedRedis
from services.contract.localisation import LocalizeAnswer
from tests.services.api_stand import assert_problem
from tests.services.conftest import make_settings
from tests.services.fake_localisation import photo_that
from tests.services.localisation_stand import POSE, Localising, open_localising

GREY = photo_that("")  # 64 x 48, mean 100: the fake finds it at x = 1


@pytest.fixture(scope="module")
def localising(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Localising]:
    """One API and one worker for the queries that leave nothing behind."""
    folder = tmp_path_factory.mktemp("localising")
    with open_localising(make_settings(redis_server.url, folder), folder) as made:
        yield made


def test_a_query_against_a_reference_that_comes_with_it(localising: Localising) -> None:
    answer = localising.ask(sent=(GREY, GREY))
    assert answer.status_code == 200, answer.text
    assert LocalizeAnswer.model_validate_json(answer.content).localized
    body = answer.json()
    assert body["pose"]["position"] == pytest.approx([1.0, 0, 0], abs=0.02)
    assert body["pose"]["matrix"][0][3] == body["pose"]["position"][0]
    assert body["pose"]["quaternion"] == [1, 0, 0, 0]
    assert body["pose"]["frame"] == {"kind": "reference", "id": None, "index": 0}
    assert body["pose"]["convention"] == {
        "transform": "camera_to_frame",
        "axes": "opencv",
        "quaternion": "wxyz",
        "units": "metres",
        "covariance": "translation_rotation_left_in_frame",
    }
    assert body["scale"] == {"metric": True, "source": "fake"}
    assert {"inliers", "inlier_ratio", "reprojection_px", "covariance"} == set(body["confidence"])
    assert [len(row) for row in body["confidence"]["covariance"]] == [6] * 6
    assert body["used"] == ["r0.jpg", "r1.jpg"]
    timing = body["timing_ms"]
    assert set(timing) == {"queue", "decode", "infer", "total"}
    assert timing["decode"] > 0
    assert timing["total"] >= timing["queue"] + timing["decode"] + timing["infer"] - 1e-6


def test_not_localised_is_an_answer_with_its_reason(localising: Localising) -> None:
    answer = localising.ask(photo_that("do-lost"), (GREY,))
    assert answer.status_code == 200
    body = answer.json()
    assert (body["localized"], body["reason"], body["pose"], body["confidence"]) == (False, "no_overlap", None, None)
    assert body["timing_ms"]["total"] > 0


def test_a_raw_photograph_with_query_parameters(localising: Localising) -> None:
    reference = localising.keep()
    parameters = {"reference_ids": reference, "fx": 60, "fy": 60, "cx": 31.5, "cy": 23.5, "deadline_ms": 5000}
    answer = localising.http.post("/v1/localize", content=GREY, params=parameters, headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["pose"]["frame"] == {"kind": "reference", "id": reference, "index": 0}
    assert answer.json()["used"] == [reference]
    wrong = localising.http.post("/v1/localize?surprise=1", content=GREY, headers={"Content-Type": "image/jpeg"})
    assert_problem(wrong, 422, "invalid_request")


def test_poses_of_references_make_a_world(localising: Localising) -> None:
    posed, bare = localising.keep(pose=POSE), localising.keep()
    answer = localising.ask(sent=(GREY,), reference_ids=[posed], references=[{"pose": POSE}])
    assert answer.json()["pose"]["frame"] == {"kind": "world", "id": None, "index": None}
    problem = assert_problem(localising.ask(reference_ids=[posed, bare]), 422, "invalid_request")
    assert "some references have a pose" in problem["detail"]


CAMERA = {"fx": 60, "fy": 60, "cx": 31.5, "cy": 23.5}
FORTY = tuple([GREY] * 40)


@pytest.mark.parametrize(
    ("query", "code", "pointer"),
    [
        ({"intrinsics": {**CAMERA, "fx": -60}}, "invalid_intrinsics", "/intrinsics/fx"),
        ({"intrinsics": {**CAMERA, "fy": 0}}, "invalid_intrinsics", "/intrinsics/fy"),
        ({"intrinsics": {**CAMERA, "fx": float("nan")}}, "invalid_intrinsics", "/intrinsics/fx"),
        ({"intrinsics": {**CAMERA, "fx": 1.0}}, "invalid_intrinsics", "/intrinsics/fx"),
        ({"intrinsics": {**CAMERA, "cx": 64}}, "invalid_intrinsics", "/intrinsics/cx"),
        ({"intrinsics": {**CAMERA, "cy": -1}}, "invalid_intrinsics", "/intrinsics/cy"),
        ({"intrinsics": {**CAMERA, "width": 640, "height": 480}}, "invalid_intrinsics", "/intrinsics/width"),
        ({"intrinsics": {**CAMERA, "width": 64}}, "invalid_intrinsics", "/intrinsics"),
        ({"intrinsics": {"model": "OPENCV", "params": [1, 2, 3, 4]}}, "invalid_intrinsics", "/intrinsics"),
        ({"intrinsics": {"fx": 60}}, "invalid_intrinsics", "/intrinsics/fy"),
        ({"deadline_ms": 0}, "invalid_request", "/deadline_ms"),
        ({"deadline_ms": -5}, "invalid_request", "/deadline_ms"),
        ({"deadline_ms": 10**9}, "invalid_request", "/deadline_ms"),
        ({"prior": {"position": [0, float("inf"), 0], "radius": 1}}, "invalid_request", "/prior/position/1"),
        ({"prior": {"position": [0, 0, 0], "radius": 0}}, "invalid_request", "/prior/radius"),
        ({"prior": {"radius": 1}}, "invalid_request", "/prior"),
        ({"prior": {"position": [0, 0, 0], "radius": 1}}, "invalid_request", "/prior"),
        (
            {"references": [{"pose": [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}]},
            "invalid_request",
            "/references/0/pose",
        ),
        ({"references": [{}, {}]}, "invalid_request", "/references"),
        ({"surprise": 1}, "invalid_request", "/surprise"),
        ({"reference_ids": ["\ud800"]}, "invalid_request", "/reference_ids/0"),
        ({"references": [{"name": "\ud800"}]}, "invalid_request", "/references/0/name"),
        ({"reference_ids": ["ref_x"]}, "invalid_request", "/reference_ids/0"),
    ],
)
def test_a_wrong_query_is_named(localising: Localising, query: dict[str, Any], code: str, pointer: str) -> None:
    answer = localising.http.post(
        "/v1/localize",
        files=[("image", ("q.jpg", GREY)), ("references", ("r.jpg", GREY))],
        data={"query": json.dumps(query)},  # Python writes NaN and Infinity, as careless clients do
    )
    problem = assert_problem(answer, 422, code)
    assert pointer in [error["pointer"] for error in problem["errors"]], problem


def test_intrinsics_are_of_the_upright_photograph(localising: Localising) -> None:
    turned = photo_that("", orientation=6)  # stored 64 x 48, upright 48 x 64
    portrait = {**CAMERA, "cx": 23.5, "cy": 60.0, "width": 48, "height": 64}
    assert localising.ask(turned, (GREY,), intrinsics=portrait).status_code == 200
    assert_problem(localising.ask(GREY, (GREY,), intrinsics=portrait), 422, "invalid_intrinsics")
    colmap = {"model": "SIMPLE_PINHOLE", "width": 64, "height": 48, "params": [60, 31.5, 23.5]}
    assert localising.ask(GREY, (GREY,), intrinsics=colmap).status_code == 200


def test_forty_references_at_once_are_refused(localising: Localising) -> None:
    problem = assert_problem(localising.ask(sent=FORTY), 422, "too_many_references")
    assert "32" in problem["detail"]
    ids = [f"ref_01996a00-0000-7000-8000-{n:012x}" for n in range(40)]
    assert_problem(localising.ask(reference_ids=ids), 422, "too_many_references")


def test_what_is_named_twice_must_not_count_twice(localising: Localising) -> None:
    reference = localising.keep()
    problem = assert_problem(localising.ask(reference_ids=[reference, reference]), 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "/reference_ids"


def test_pixels_of_a_query_are_bounded_together(localising: Localising) -> None:
    large = photo_that("", size=(8000, 6000))  # 48 megapixels in 300 kB
    problem = assert_problem(localising.ask(large, (large, large)), 413, "too_large")
    assert "144000000 pixels" in problem["detail"]


def test_wrong_bodies_are_named(localising: Localising) -> None:
    http = localising.http
    assert_problem(localising.ask(b"", (GREY,)), 422, "invalid_image")
    assert_problem(localising.ask(GREY[:-40], (GREY,)), 422, "invalid_image")
    problem = assert_problem(localising.ask(GREY, (b"no photograph",)), 422, "invalid_image")
    assert problem["errors"][0]["pointer"] == "/references/0"
    assert_problem(http.post("/v1/localize", content=b"", headers={"Content-Type": "image/jpeg"}), 422, "invalid_request")
    assert_problem(http.post("/v1/localize", json={}), 415, "unsupported_media_type")
    assert_problem(http.post("/v1/localize", files={"references": ("r.jpg", GREY)}), 422, "invalid_image")
    assert_problem(http.post("/v1/localize", files={"photo": ("r.jpg", GREY)}), 422, "invalid_request")
    assert_problem(http.post("/v1/localize", files={"image": ("r.jpg", GREY)}), 422, "invalid_request")  # against nothing
    not_json = http.post("/v1/localize", files={"image": ("r.jpg", GREY)}, data={"query": "{"})
    assert_problem(not_json, 422, "invalid_request")
    large = b"\xff\xd8\xff" + bytes(localising.settings.localisation_max_photo_bytes)
    assert_problem(http.post("/v1/localize", content=large, headers={"Content-Type": "image/jpeg"}), 413, "too_large")


def test_what_is_not_there_is_404(localising: Localising) -> None:
    nobody = "ref_01996a00-0000-7000-8000-000000000001"
    problem = assert_problem(localising.ask(reference_ids=[localising.keep(), nobody]), 404, "not_found")
    assert problem["errors"] == [{"pointer": "/reference_ids/1", "message": f"there is no reference {nobody}"}]
    for path in ("map_01996a00-0000-7000-8000-000000000001", "map_x"):
        assert_problem(localising.ask(path=f"/v1/maps/{path}/localize"), 404, "not_found")


def test_pixels_that_cannot_be_decoded_are_named_by_the_worker(localising: Localising) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0)
    noise = chunk(b"IHDR", header) + chunk(b"IDAT", bytes(range(200))) + chunk(b"IEND", b"")  # whole, but no deflate stream
    problem = assert_problem(localising.ask(b"\x89PNG\r\n\x1a\n" + noise, (GREY,)), 422, "invalid_image")
    assert "cannot be decoded" in problem["detail"]
    named = assert_problem(localising.ask(GREY, (GREY, b"\x89PNG\r\n\x1a\n" + noise)), 422, "invalid_image")
    assert "r1.jpg" in named["detail"]


def test_one_query_that_fails_does_not_touch_its_neighbours(localising: Localising) -> None:
    wishes = {
        "do-raise": (500, "engine_error"),
        "do-memory": (503, "out_of_memory"),
        "do-nan": (500, "engine_error"),
        "": (200, ""),
        "do-lost": (200, ""),
    }
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        asked = [(wish, pool.submit(localising.ask, photo_that(wish), (GREY,))) for wish in [*wishes, *wishes]]
    for wish, future in asked:
        status, code = wishes[wish]
        answer = future.result()
        assert answer.status_code == status, (wish, answer.text)
        assert "secret" not in answer.text
        if status != 200:
            assert_problem(answer, status, code)


def test_many_queries_at_once_each_get_their_own_answer(localising: Localising) -> None:
    def ask(n: int) -> float:
        colour = 10 + 5 * n
        answer = localising.ask(photo_that("", (colour, colour, colour)), (GREY,))
        return float(answer.json()["pose"]["position"][0])

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        found = list(pool.map(ask, range(24)))
    assert found == pytest.approx([(10 + 5 * n) / 100 for n in range(24)], abs=0.02)


def test_queries_leave_nothing_in_redis(localising: Localising, tmp_path: Path) -> None:
    localising.ask(sent=(GREY,))
    prefix, client = localising.settings.key_prefix, localising.api.store.redis
    assert client.xlen(prefix + "localisation:queries") == 0
    assert list(client.scan_iter(prefix + "localisation:query:*")) == []
