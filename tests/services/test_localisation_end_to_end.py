"""`m3r serve`, a job, a map of it, and queries: real processes, the real engine over an oracle network."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from mast3r_engine.evaluation.oracle import make_scene
from services.contract.localisation import LocalizeAnswer
from tests.services.oracle_engine import HEIGHT, STRANGER, VIEWS, WIDTH
from tests.services.service_stand import wait_for
from tests.services.test_end_to_end import Served, grey_photos

PHOTOS = dict(enumerate(data for _, data in grey_photos(VIEWS + 1)))
SCENE = make_scene(VIEWS + 1, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    service = Served(tmp_path_factory.mktemp("localise"))
    try:
        wait_for(
            lambda: "localisation_workers" in ready(service) and ready(service)["localisation_workers"][0] == "1", 90, "a worker"
        )
        wait_for(lambda: "1 with" in ready(service)["localisation_workers"], 90, "its weights")
        yield service
    finally:
        if service.process.poll() is None:
            service.stop()


def ready(service: Served) -> dict[str, str]:
    return dict(service.http.get("/healthz/ready").json()["checks"])


def intrinsics(view: int) -> dict[str, float]:
    K = SCENE.views[view].K
    return {"fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "width": WIDTH, "height": HEIGHT}


def ask(service: Served, path: str, view: int, sent: tuple[int, ...] = (), **query: Any) -> httpx.Response:
    files = [("image", ("q.png", PHOTOS[view])), *(("references", (f"view-{k}.png", PHOTOS[k])) for k in sent)]
    document = {"intrinsics": intrinsics(view), "deadline_ms": 60_000, **query}
    return service.http.post(path, files=files, data={"query": json.dumps(document)})


def true_pose(view: int, origin: int) -> np.ndarray[Any, Any]:
    pose: np.ndarray[Any, Any] = np.linalg.inv(SCENE.views[origin].cam2world) @ SCENE.views[view].cam2world
    return pose


def assert_at(answer: httpx.Response, expected: np.ndarray[Any, Any]) -> LocalizeAnswer:
    assert answer.status_code == 200, answer.text
    found = LocalizeAnswer.model_validate_json(answer.content)
    assert found.localized, answer.text
    assert found.pose is not None
    np.testing.assert_allclose(np.asarray(found.pose.matrix)[:3, 3], expected[:3, 3], atol=0.03)
    np.testing.assert_allclose(np.asarray(found.pose.matrix)[:3, :3], expected[:3, :3], atol=0.01)
    return found


def test_against_photographs_that_come_along_and_that_are_kept(served: Served) -> None:
    answer = ask(served, "/v1/localize", 1, (0,), references=[{"intrinsics": intrinsics(0)}])
    found = assert_at(answer, true_pose(1, 0))
    assert found.confidence is not None
    assert found.confidence.inliers > 100
    facts = {"intrinsics": intrinsics(0), "pose": true_pose(0, 2).tolist()}
    kept = served.http.post("/v1/references", files={"image": ("0.png", PHOTOS[0])}, data={"reference": json.dumps(facts)})
    in_world = assert_at(ask(served, "/v1/localize", 1, reference_ids=[kept.json()["id"]]), true_pose(1, 2))
    assert in_world.pose is not None
    assert in_world.pose.frame.kind == "world"


def test_a_view_that_nobody_knows_is_refused_with_a_reason(served: Served) -> None:
    body = ask(served, "/v1/localize", STRANGER, (0, 1)).json()
    assert (body["localized"], body["pose"]) == (False, None)
    assert body["reason"]


def test_a_finished_job_becomes_a_map_that_outlives_it(served: Served) -> None:
    job = served.finish(served.post(grey_photos(VIEWS)))
    assert job["status"] == "succeeded", job
    made = served.http.post("/v1/maps", json={"job_id": job["id"]}).json()
    shown = wait_for(lambda: done_map(served, made["id"]), 90, "the map")
    assert shown["status"] == "ready", shown
    assert (shown["photos"], shown["scale"]["metric"]) == (VIEWS, True)
    assert shown["bytes"] > 1000
    assert served.http.delete(f"/v1/jobs/{job['id']}").status_code in (200, 204)
    path = f"/v1/maps/{made['id']}/localize"
    found = assert_at(ask(served, path, 1), true_pose(1, 0))
    assert found.pose is not None
    assert (found.pose.frame.kind, found.pose.frame.id) == ("map", made["id"])
    centre = true_pose(1, 0)[:3, 3].tolist()
    assert_at(ask(served, path, 1, prior={"position": centre, "radius": 0.5}), true_pose(1, 0))
    far = ask(served, path, 1, prior={"position": [1e4, 0, 0], "radius": 0.1}).json()
    assert far["localized"] is False
    several = ask(served, "/v1/localize", 2, map_ids=[made["id"], made["id"]], prior={"position": centre, "radius": 5})
    assert several.status_code == 422


def done_map(served: Served, map_id: str) -> dict[str, Any] | None:
    shown = dict(served.http.get(f"/v1/maps/{map_id}").json())
    return None if shown["status"] == "building" else shown


def test_a_killed_localisation_worker_is_missed_at_once_and_comes_back(served: Served) -> None:
    (worker,) = [p for p in served.descendants() if p.cmdline()[-2:] == ["m3r.tethered", "localisation"]]
    worker.send_signal(signal.SIGKILL)
    psutil.wait_procs([worker], timeout=20)
    seen: list[int] = []

    def again() -> bool:
        started = time.monotonic()
        answer = ask(served, "/v1/localize", 1, (0,))
        assert answer.status_code in (200, 503), answer.text
        assert answer.status_code == 200 or (int(answer.headers["retry-after"]) >= 1 and time.monotonic() - started < 20)
        seen.append(answer.status_code)
        time.sleep(0.2)
        return answer.status_code == 200

    wait_for(again, 90, "a localisation worker that came back")
