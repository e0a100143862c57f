"""Maps: frozen from finished jobs in the background, whatever dies meanwhile, and searched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.adapters.settings import Settings
from services.contract.localisation_records import LocalisationMap, MapPage
from tests.services.api_stand import assert_problem
from tests.services.fake_localisation import photo_that
from tests.services.localisation_stand import POSE, Localising, open_localising
from tests.services.service_stand import wait_for

GREY = photo_that("")


@pytest.fixture
def localising(settings: Settings, tmp_path: Path) -> Iterator[Localising]:
    with open_localising(settings, tmp_path, start=False, max_kept_maps=3) as made:
        yield made


def test_a_map_is_built_and_searched(localising: Localising) -> None:
    building = localising.freeze(wait=False)
    assert_problem(localising.ask(path=f"/v1/maps/{building['id']}/localize"), 409, "map_not_ready")
    localising.start_worker()
    shown = LocalisationMap.model_validate(localising.wait_built(building["id"]))
    assert (shown.status, shown.photos, shown.error) == ("ready", 2, None)
    assert shown.scale is not None
    assert shown.scale.metric
    assert shown.bytes > 0
    body = localising.ask(path=f"/v1/maps/{shown.id}/localize", prior={"pose": POSE, "radius": 2}).json()
    assert body["pose"]["frame"] == {"kind": "map", "id": shown.id, "index": None}
    assert body["used"] == ["photo_0.jpg", "photo_1.jpg"]
    nowhere = localising.ask(path=f"/v1/maps/{shown.id}/localize", prior={"position": [0, 0, 0], "radius": 0.001}).json()
    assert (nowhere["localized"], nowhere["reason"]) == (False, "no_photo_near_prior")
    raw = localising.http.post(
        f"/v1/maps/{shown.id}/localize?x=0&y=0&z=0&radius=0.001", content=GREY, headers={"Content-Type": "image/jpeg"}
    )
    assert raw.json()["reason"] == "no_photo_near_prior"
    half = localising.http.post(
        f"/v1/maps/{shown.id}/localize?x=0&radius=1", content=GREY, headers={"Content-Type": "image/jpeg"}
    )
    assert_problem(half, 422, "invalid_request")


def test_several_maps_in_one_query(localising: Localising) -> None:
    localising.start_worker()
    first, second = localising.freeze()["id"], localising.freeze()["id"]
    body = localising.ask(map_ids=[first, second]).json()
    assert body["pose"]["frame"]["id"] == second  # the fake finds it in the last one
    near = {"position": [0, 0, 0], "radius": 0.001}
    assert localising.ask(map_ids=[first, second], prior={**near, "map_id": first}).json()["localized"]
    assert not localising.ask(map_ids=[first, second], prior={**near, "map_id": second}).json()["localized"]
    problem = assert_problem(localising.ask(map_ids=[first, second], prior=near), 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "/prior/map_id"
    assert_problem(localising.ask(map_ids=[first], prior={**near, "map_id": second}), 422, "invalid_request")
    assert_problem(localising.ask(sent=(GREY,), map_ids=[first]), 422, "invalid_request")


def test_only_a_job_that_succeeded_becomes_a_map(localising: Localising) -> None:
    queued = localising.api.new_job()["id"]
    problem = assert_problem(localising.http.post("/v1/maps", json={"job_id": queued}), 409, "conflict")
    assert problem["retryable"]
    nobody = "job_01996a00-0000-7000-8000-000000000001"
    assert_problem(localising.http.post("/v1/maps", json={"job_id": nobody}), 404, "not_found")
    assert_problem(localising.http.post("/v1/maps", json={"job_id": "x"}), 422, "invalid_request")
    assert_problem(localising.http.post("/v1/maps", json={}), 422, "invalid_request")


def test_pages_deletion_and_the_limit(localising: Localising) -> None:
    ids = [localising.freeze(wait=False)["id"] for _ in range(3)]
    job_id = localising.http.get(f"/v1/maps/{ids[0]}").json()["job_id"]
    assert_problem(localising.http.post("/v1/maps", json={"job_id": job_id}), 409, "limit_reached")
    page = MapPage.model_validate_json(localising.http.get("/v1/maps?limit=2").content)
    assert ([item.id for item in page.items], page.next_cursor) == ([ids[2], ids[1]], ids[1])
    assert localising.http.delete(f"/v1/maps/{ids[1]}").status_code == 204
    assert_problem(localising.http.get(f"/v1/maps/{ids[1]}"), 404, "not_found")
    assert [item["id"] for item in localising.http.get("/v1/maps").json()["items"]] == [ids[2], ids[0]]
    localising.start_worker()
    assert localising.wait_built(ids[2])["status"] == "ready"
    assert not any(ids[1] in key for key in localising.api.stored("maps/"))


@pytest.mark.parametrize(
    ("what", "code", "message"),
    [
        ("invalid", "invalid_map", "no photograph is registered"),
        ("raise", "engine_error", "ValueError"),
        pytest.param("crash", "worker_lost", "3 times", marks=pytest.mark.faults),
    ],
)
def test_a_map_that_cannot_be_built_says_why(localising: Localising, what: str, code: str, message: str) -> None:
    made = localising.freeze({"do": what}, wait=False)
    localising.start_worker(wait=False)

    def failed() -> bool:
        if localising.workers[-1].process.poll() is not None:  # what `m3r serve` does
            localising.start_worker(wait=False)
        return bool(localising.http.get(f"/v1/maps/{made['id']}").json()["status"] == "failed")

    wait_for(failed, 60, "the map's failure")
    shown = localising.http.get(f"/v1/maps/{made['id']}").json()
    assert shown["error"]["code"] == code
    assert message in shown["error"]["message"]
    assert "secret" not in json.dumps(shown)
    assert_problem(localising.ask(path=f"/v1/maps/{made['id']}/localize"), 409, "map_not_ready")


def test_a_job_deleted_before_its_map_was_built(localising: Localising) -> None:
    made = localising.freeze(wait=False)
    assert localising.http.delete(f"/v1/jobs/{made['job_id']}").status_code in (200, 202, 204)
    localising.start_worker()
    shown = localising.wait_built(made["id"])
    assert (shown["status"], shown["error"]["code"]) == ("failed", "job_gone")


def test_queries_go_before_a_scene_that_is_frozen(localising: Localising) -> None:
    localising.start_worker()
    made = localising.freeze({"seconds": 1.0}, wait=False)
    times = [localising.ask(sent=(GREY,)).json()["timing_ms"]["total"] for _ in range(5)]
    assert localising.http.get(f"/v1/maps/{made['id']}").json()["status"] == "building"
    assert min(times) < 900  # none waits for a whole step of the freezing
    assert localising.wait_built(made["id"])["status"] == "ready"


def test_another_checkpoint_wants_the_map_frozen_anew(localising: Localising) -> None:
    worker = localising.start_worker()
    made = localising.freeze()
    worker.kill()
    localising.start_worker(localisation_engine="tests.services.fake_localisation:load_other")
    problem = assert_problem(localising.ask(path=f"/v1/maps/{made['id']}/localize"), 409, "map_not_ready")
    assert "another checkpoint" in problem["detail"]
