"""Priors through the whole service over the real engine and an oracle network: they act as they do in the library."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mast3r_engine.errors import PriorsError
from mast3r_engine.evaluation.oracle import grey_image, make_scene
from services.contract.ids import new_id
from services.contract.jobs import PriorFile
from services.contract.keys import capture_prior
from services.worker.engine import PriorFiles
from services.worker.priors import fetch_priors
from services.worker.priors_for_engine import to_priors
from services.worker.translate import scale_source
from tests.services import oracle_engine
from tests.services.api_stand import Api, open_api
from tests.services.bad_files import encode
from tests.services.conftest import make_settings
from tests.services.prior_documents import camera, of, turned
from tests.services.service_stand import Stand, make_record, wait_for
from tests.services.test_worker_translation import scene as made_scene

H, W = oracle_engine.HEIGHT, oracle_engine.WIDTH
VIEWS = make_scene(oracle_engine.VIEWS + 1, H, W).views
NAMES = [f"view-{k}.png" for k in range(3)]
Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def served(redis_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Stand]]:
    """The API, and a worker with the real engine."""
    folder = tmp_path_factory.mktemp("priors")
    settings = make_settings(redis_server.url, folder, engine="tests.services.oracle_engine:load_engine", lease_s=20.0)
    with Stand(settings, folder, redis_server) as stand, open_api(settings) as api:
        stand.start_worker()
        yield api, stand


def photos() -> list[tuple[str, tuple[str, bytes]]]:
    """What the oracle recognises."""
    return [("images", (name, encode(Image.fromarray(grey_image(k, H, W)), "PNG"))) for k, name in enumerate(NAMES)]


def submit(api: Api, *files: tuple[str, tuple[str, bytes]], cameras: Any = None) -> str:
    """Send the photographs and what is known of them; gives the job's id."""
    data = {"outputs": "depth.npz"} | ({} if cameras is None else {"cameras": json.dumps(cameras)})
    answer = api.http.post("/v1/reconstructions", files=[*photos(), *files], data=data)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def end(served: tuple[Api, Stand], job_id: str) -> dict[str, Any]:
    """Wait for a job's end."""
    api, stand = served
    try:
        return wait_for(lambda: job if (job := api.job(job_id))["terminal"] else None, 120, "the job's end")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{stand.workers[0].tail()}") from None


def artifact(api: Api, job: dict[str, Any], name: str) -> bytes:
    """One file of a result."""
    answer = api.http.get(f"/v1/jobs/{job['id']}/artifacts/{name}", follow_redirects=True)
    assert answer.status_code == 200, (job, answer.text)
    return answer.content


def poses(api: Api, job: dict[str, Any]) -> tuple[dict[str, Any], Floats]:
    """`poses.json`, and its poses (N, 4, 4)."""
    document = json.loads(artifact(api, job, "poses.json"))
    return document, np.array([image["cam2world"] for image in document["images"]])


def users_frame() -> Floats:
    """The true poses in a frame of the caller's, far from any camera."""
    moved = np.eye(4)
    moved[:3, :3] = np.array(turned(110.0))[:3, :3]
    moved[:3, 3] = (100.0, -20.0, 7.0)
    return np.stack([moved @ view.cam2world for view in VIEWS[:3]])


def known(**facts: list[Any]) -> dict[str, Any]:
    """A document that says each fact of each photograph; None says nothing."""
    values = {name: {what: each[k] for what, each in facts.items() if each[k] is not None} for k, name in enumerate(NAMES)}
    return {"photos": values}


def cameras_fixed() -> list[dict[str, Any]]:
    """The true cameras."""
    lenses = [[v.K[0, 0], v.K[1, 1], v.K[0, 2], v.K[1, 2]] for v in VIEWS[:3]]
    return [{"model": "PINHOLE", "params": lens, "width": W, "height": H, "mode": "fixed"} for lens in lenses]


def test_fixed_poses_put_the_result_into_the_caller_s_frame(served: tuple[Api, Stand]) -> None:
    api, given = served[0], users_frame()
    capture = str(api.http.post("/v1/captures").json()["id"])
    poses_given = [{"cam2world": pose.tolist()} for pose in given]
    document = known(camera=cameras_fixed(), pose=poses_given, timestamp=[20.5, 30.5, 10.5])
    assert api.http.put(f"/v1/captures/{capture}/cameras", json=document).status_code == 200
    for _, (name, data) in photos():
        assert api.http.put(f"/v1/captures/{capture}/images/{name}", content=data).status_code == 201
    answer = api.http.post("/v1/reconstructions", json={"capture_id": capture, "outputs": ["trajectory.txt"]})
    job = end(served, answer.json()["id"])
    assert job["status"] == "succeeded", job
    assert job["scale"] == {"metric": True, "source": "priors"}
    document, found = poses(api, job)
    assert "frame of the pose or position priors" in document["world"]
    np.testing.assert_allclose(found, given, atol=1e-6)
    for image, view in zip(document["images"], VIEWS):
        np.testing.assert_allclose(image["K"], view.K, atol=1e-6)
    path = [line.split() for line in artifact(api, job, "trajectory.txt").decode().splitlines() if not line.startswith("#")]
    assert [float(line[0]) for line in path] == [10.5, 20.5, 30.5]
    np.testing.assert_allclose([float(value) for value in path[0][1:4]], given[2, :3, 3], atol=1e-6)
    plain = end(served, submit(api))
    assert plain["scale"] == {"metric": True, "source": "network"}
    _, free = poses(api, plain)
    assert np.abs(free - given).max() > 10  # without them the result is elsewhere


def test_positions_that_one_photograph_contradicts_are_told(served: tuple[Api, Stand]) -> None:
    api, given = served[0], users_frame()
    places = [{"metres": pose[:3, 3].tolist(), "sigma": 0.05} for pose in given]
    document = known(camera=cameras_fixed(), pose=[{"cam2world": pose.tolist()} for pose in given[:2]] + [None])
    document["photos"]["view-2.png"]["position"] = {**places[2], "metres": (given[2, :3, 3] + [0, 4.0, 0]).tolist()}
    job = end(served, submit(api, cameras=document))
    assert job["status"] == "succeeded", job
    assert any("view-2.png" in warning for warning in job["warnings"]), job["warnings"]
    _, found = poses(api, job)
    assert np.linalg.norm(found[2, :3, 3] - given[2, :3, 3]) < 0.5  # the photographs are believed


def test_masked_pixels_give_no_depth_and_no_points(served: tuple[Api, Stand]) -> None:
    use = np.full((H, W), 255, np.uint8)
    use[:, : W // 2] = 0
    masks = [("masks", (f"{name}.png", encode(Image.fromarray(use), "PNG"))) for name in NAMES]
    job, plain = (end(served, submit(served[0], *files)) for files in (masks, []))
    assert job["status"] == "succeeded", job
    known_depth = [np.isfinite(each) for each in depths(served[0], job)]
    for found, without in zip(known_depth, depths(served[0], plain)):
        assert not found[:, : W // 2 - 1].any()
        assert found[:, W // 2 + 1 :].mean() > 0.8
        assert np.isfinite(without[:, : W // 2 - 1]).mean() > 0.8
    assert job["metrics"]["points"] < 0.75 * plain["metrics"]["points"]


def depths(api: Api, job: dict[str, Any]) -> list[NDArray[np.float32]]:
    """The exported depth maps; 0 and NaN are not known."""
    with np.load(io.BytesIO(artifact(api, job, "depth.npz"))) as arrays:
        names = sorted(name for name in arrays if name == "depth" or name.startswith("depth"))
        found = np.concatenate([np.atleast_3d(arrays[name]).reshape(-1, H, W) for name in names])
    return [np.where(each > 0, each, np.nan) for each in found]


def test_measured_depth_sets_the_scale(served: tuple[Api, Stand]) -> None:
    """Everything is told to be 1.1 times as far away as the network believes."""
    plain = end(served, submit(served[0]))
    believed = depths(served[0], plain)
    maps = [np.nan_to_num(each * 1100.0).round().astype(np.uint16) for each in believed]
    files = [("depths", (name, encode(Image.fromarray(each), "PNG"))) for name, each in zip(NAMES, maps)]
    job = end(served, submit(served[0], *files))
    assert job["status"] == "succeeded", job
    ratio = np.nanmedian([np.nanmedian(new / old) for new, old in zip(depths(served[0], job), believed)])
    assert ratio == pytest.approx(1.1, abs=0.02)


def test_a_file_that_is_gone_or_altered_fails_the_job_by_name(served: tuple[Api, Stand]) -> None:
    _, stand = served
    for stored, code in ((None, "storage_unavailable"), (b"other", "storage_unavailable"), (b"[]", "engine_error")):
        prior = PriorFile(id="1-a", kind="cameras", name="", bytes=2, sha256=hashlib.sha256(b"[]").hexdigest())
        capture = new_id("cap")
        if stored is not None:
            stand.objects.put(capture_prior(capture, prior.id), stored)
        done = stand.wait_terminal(stand.submit(1, capture_id=capture, priors=[prior]), 60)
        assert done.error is not None
        assert done.error.code.value == code, done.error
        if code == "engine_error":  # nothing else can tell it than what API and engine do not see alike
            assert "cameras document is []" in done.error.message


def test_files_are_fetched_under_their_photographs_names(tmp_path: Path) -> None:
    document = of(camera=camera())
    contents = {"1": json.dumps(document).encode(), "2": b"mask", "3": b"depth"}
    priors = [
        PriorFile(id="1", kind="cameras", name="", bytes=1, sha256="x"),
        PriorFile(id="2", kind="mask", name="a.jpg", bytes=1, sha256="y"),
        PriorFile(id="3", kind="depth", name="a.jpg", bytes=1, sha256="z"),
    ]
    asked = []

    def fetch(key: str, digest: str, path: Path) -> None:
        asked.append((key.rpartition("/")[2], digest))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[asked[-1][0]])

    record = make_record(make_settings("redis://nowhere", tmp_path), 1, priors=priors)
    files = fetch_priors(record, tmp_path / "priors", fetch)
    assert asked == [("1", "x"), ("2", "y"), ("3", "z")]
    assert files.cameras == document
    assert (files.masks["a.jpg"].read_bytes(), files.depths["a.jpg"].read_bytes()) == (b"mask", b"depth")
    assert fetch_priors(record.model_copy(update={"priors": []}), tmp_path, fetch) == PriorFiles()


def test_files_become_the_engine_s_priors(tmp_path: Path) -> None:
    mask, depth = tmp_path / "m.png", tmp_path / "d.png"
    mask.write_bytes(encode(Image.fromarray(np.array([[0, 127], [128, 255]], np.uint8)), "PNG"))
    depth.write_bytes(encode(Image.fromarray(np.array([[0, 1500], [65535, 1]], np.uint16)), "PNG"))
    priors = to_priors(PriorFiles(of(camera=camera()), {"a.jpg": mask}, {"a.jpg": depth}))
    assert priors.cameras["a.jpg"].lens.focals == (60.0, 60.0)
    assert priors.masks["a.jpg"].use.tolist() == [[False, False], [True, True]]
    np.testing.assert_allclose(priors.depths["a.jpg"].depth, [[math.nan, 1.5], [65.535, 0.001]], rtol=1e-6)
    assert to_priors(PriorFiles()).names == set()
    with pytest.raises(PriorsError, match=r"a\.jpg: m\.png cannot be used: depth is a picture of mode L"):
        to_priors(PriorFiles(depths={"a.jpg": mask})).depths["a.jpg"]
    mask.write_bytes(b"text")
    with pytest.raises(PriorsError, match=r"a\.jpg: m\.png cannot be used: cannot identify"):
        to_priors(PriorFiles(masks={"a.jpg": mask})).masks["a.jpg"]


def test_the_scale_s_source() -> None:
    metric = made_scene([0, 0], {(0, 1): 500})
    assert scale_source(metric) == "network"
    assert scale_source(dataclasses.replace(metric, metric=False)) == "none"
    given = {"priors": {"in_given_unit": True}}
    assert scale_source(dataclasses.replace(metric, stats=given)) == "priors"
