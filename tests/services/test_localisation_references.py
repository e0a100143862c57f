"""References: kept, listed, encoded once, found again after every restart, and removed when their time is over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.adapters.embedded import EmbeddedRedis
from services.adapters.localisation_reaping import reap_localisation
from services.adapters.settings import Settings
from services.contract.localisation_records import Reference, ReferencePage
from tests.services.api_stand import assert_problem
from tests.services.conftest import make_settings
from tests.services.fake_localisation import photo_that
from tests.services.localisation_stand import POSE, Localising, open_localising
from tests.services.service_stand import wait_for

GREY = photo_that("")
CAMERA = {"fx": 60.0, "fy": 60.0, "cx": 31.5, "cy": 23.5}


@pytest.fixture
def localising(settings: Settings, tmp_path: Path) -> Iterator[Localising]:
    with open_localising(settings, tmp_path, start=False, max_kept_references=3, max_kept_maps=1) as made:
        yield made


def test_what_is_kept_is_shown(localising: Localising) -> None:
    answer = localising.http.post(
        "/v1/references",
        files={"image": ("../../door.jpg", GREY)},
        data={"reference": json.dumps({"name": "the door", "intrinsics": CAMERA, "pose": POSE})},
    )
    assert answer.status_code == 201
    made = Reference.model_validate_json(answer.content)
    assert answer.headers["location"] == made.links["self"] == f"{localising.api.url}/v1/references/{made.id}"
    assert (made.name, made.pose, made.encoded) == ("the door", POSE, False)
    assert made.intrinsics is not None
    assert (made.intrinsics.fx, made.image.width, made.image.height) == (60, 64, 48)
    assert (made.retention_until - made.created_at).days == 30
    assert localising.http.get(f"/v1/references/{made.id}").json() == answer.json()
    assert "tenant" not in answer.json()


def test_a_bare_photograph_with_parameters(localising: Localising) -> None:
    answer = localising.http.post(
        "/v1/references?name=yard&fx=60&fy=60&cx=1&cy=2", content=GREY, headers={"Content-Type": "image/jpeg"}
    )
    assert (answer.json()["name"], answer.json()["intrinsics"]["cx"]) == ("yard", 1)
    half = localising.http.post("/v1/references?fx=60", content=GREY, headers={"Content-Type": "image/jpeg"})
    assert_problem(half, 422, "invalid_intrinsics")


def test_bad_references_are_refused_and_leave_nothing(localising: Localising) -> None:
    for facts in ({"intrinsics": {**CAMERA, "fx": -1}}, {"intrinsics": {**CAMERA, "cx": 900}}):
        answer = localising.http.post("/v1/references", files={"image": ("a.jpg", GREY)}, data={"reference": json.dumps(facts)})
        assert_problem(answer, 422, "invalid_intrinsics")
    assert_problem(localising.http.post("/v1/references", files={"image": ("a.jpg", b"")}), 422, "invalid_image")
    assert_problem(localising.http.post("/v1/references", files={"images": ("a.jpg", GREY)}), 422, "invalid_request")
    assert localising.api.stored("references/") == []
    assert localising.http.get("/v1/references").json() == {"items": [], "next_cursor": None}


def test_pages_and_the_limit(localising: Localising) -> None:
    ids = [localising.keep() for _ in range(3)]
    full = localising.http.post("/v1/references", files={"image": ("a.jpg", GREY)})
    assert "delete some" in assert_problem(full, 409, "limit_reached")["detail"]
    first = ReferencePage.model_validate_json(localising.http.get("/v1/references?limit=2").content)
    assert [item.id for item in first.items] == [ids[2], ids[1]]
    second = ReferencePage.model_validate_json(localising.http.get(f"/v1/references?limit=2&cursor={first.next_cursor}").content)
    assert ([item.id for item in second.items], second.next_cursor) == ([ids[0]], None)
    assert localising.http.delete(f"/v1/references/{ids[0]}").status_code == 204
    assert_problem(localising.http.get(f"/v1/references/{ids[0]}"), 404, "not_found")
    assert_problem(localising.http.delete(f"/v1/references/{ids[0]}"), 404, "not_found")
    assert localising.api.stored(f"references/{ids[0]}/") == []
    localising.keep()
    assert_problem(localising.http.get("/v1/references?cursor=job_1"), 422, "invalid_request")


def test_a_reference_is_encoded_once_in_the_background_and_by_each_checkpoint(localising: Localising) -> None:
    reference = localising.keep()
    worker = localising.start_worker()
    wait_for(lambda: localising.http.get(f"/v1/references/{reference}").json()["encoded"], 20, "the encoding")
    asked = [localising.ask(reference_ids=[reference]).json() for _ in range(2)]
    # the fake tells the serial number of the encoding as the number of inliers: it was its first photograph, both times
    assert [answer["confidence"]["inliers"] for answer in asked] == [1, 1]
    worker.kill()
    localising.start_worker()
    assert localising.ask().status_code == 422
    localising.ask(sent=(GREY,))  # the new process encodes others first
    assert localising.ask(reference_ids=[reference]).json()["confidence"]["inliers"] == 1  # and reads this one from the store
    for running in localising.workers[1:]:
        running.kill()
    localising.start_worker(localisation_engine="tests.services.fake_localisation:load_other")
    assert localising.ask(reference_ids=[reference]).status_code == 200
    kept = sorted(key.rpartition("/")[2] for key in localising.api.stored(f"references/{reference}/encodings/"))
    assert kept == ["fake1", "fake2"]


def test_a_damaged_encoding_is_made_anew(localising: Localising) -> None:
    reference = localising.keep()
    localising.api.objects.put(f"references/{reference}/encodings/fake1", b"bits fell out")
    localising.start_worker()
    assert localising.ask(reference_ids=[reference]).status_code == 200


def test_a_deleted_reference_is_gone_for_a_worker_that_has_it_in_memory(localising: Localising) -> None:
    reference = localising.keep()
    localising.start_worker()
    assert localising.ask(reference_ids=[reference]).status_code == 200
    localising.http.delete(f"/v1/references/{reference}")
    assert_problem(localising.ask(reference_ids=[reference]), 404, "not_found")


def test_an_emptied_redis_loses_no_reference(tmp_path: Path) -> None:
    with (
        EmbeddedRedis(tmp_path / "redis") as server,
        open_localising(make_settings(server.url, tmp_path), tmp_path, False) as made,
    ):
        first, second = made.keep(name="first"), made.keep()
        made.api.store.redis.flushall()
        assert made.http.get(f"/v1/references/{first}").json()["name"] == "first"
        reap_localisation(made.api.store, made.api.objects, made.settings)
        assert [item["id"] for item in made.http.get("/v1/references").json()["items"]] == [second, first]


def test_retention_is_carried_out(localising: Localising) -> None:
    short = localising.settings.model_copy(update={"reference_retention_days": 0.0})
    with open_localising(short, localising.folder, start=False) as made:
        reference = made.keep()
        assert_problem(made.http.get(f"/v1/references/{reference}"), 404, "not_found")
        assert reap_localisation(made.api.store, made.api.objects, made.settings) == 1
        assert made.api.stored("references/") == []
