"""What is known beforehand, from the Python client and `m3r submit` to a job, also over a connection that breaks."""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from m3r.known_files import KnownFiles, depth_png
from m3r_client import AsyncClient, Client, InvalidRequest, Progress, Wishes
from m3r_client.photos import as_photo
from m3r_client.priors import gather_priors
from services.contract.keys import capture_prior
from tests.clients.conftest import QUICK
from tests.clients.flaky_proxy import FlakyProxy, repeated
from tests.services.api_stand import Api, good_photos
from tests.services.bad_files import encode, text_as_photo
from tests.services.prior_documents import camera, of, turned
from tests.services.test_api_priors import depth, mask

CAMERAS: dict[str, Any] = of("photo_0.jpg", camera=camera(), pose={"cam2world": turned()})


def given(api: Api, job_id: str) -> dict[tuple[str, str], bytes]:
    """What a job has."""
    record = api.record(job_id)
    return {(prior.kind, prior.name): api.objects.read(capture_prior(record.capture_id, prior.id)) for prior in record.priors}


def folder(place: Path, files: dict[str, bytes]) -> Path:
    place.mkdir()
    for name, data in files.items():
        (place / name).write_bytes(data)
    return place


def test_reconstruct_sends_what_is_known(api: Api, client: Client, worker: None, tmp_path: Path) -> None:
    masks = folder(tmp_path / "masks", {"photo_0.jpg.png": mask(), "photo_1.png": mask(seed=1), "notes.txt": b""})
    heard: list[Progress] = []
    result = client.reconstruct(
        good_photos(2), cameras=CAMERAS, masks=masks, depths={"photo_1.jpg": depth()}, on_progress=heard.append
    )
    found = given(api, result.job.id)
    assert json.loads(found.pop(("cameras", ""))) == CAMERAS
    assert found == {("mask", "photo_0.jpg"): mask(), ("mask", "photo_1.jpg"): mask(seed=1), ("depth", "photo_1.jpg"): depth()}
    assert [each.fraction for each in heard if each.phase == "upload"][-1] == 1.0
    capture = client.capture(result.job.capture_id)
    assert capture.cameras is not None
    assert [(each.name, each.width, each.height) for each in capture.masks] == [("photo_0.jpg", 64, 48), ("photo_1.jpg", 64, 48)]


def test_the_asynchronous_client_does_the_same(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "cameras.json"
    file.write_text(json.dumps(CAMERAS))

    async def upload() -> str:
        async with AsyncClient(api.url, retry=QUICK) as client:
            capture = await client.upload(good_photos(2), cameras=file, masks=[("photo_0.jpg", mask())])
            return (await client.submit(capture.id)).id

    assert set(given(api, asyncio.run(upload()))) == {("cameras", ""), ("mask", "photo_0.jpg")}


def test_what_is_wrong_is_raised_by_name(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="which is no rotation") as refused:
        client.upload(good_photos(2), cameras=of("photo_0.jpg", pose={"cam2world": np.ones((4, 4)).tolist()}))
    assert refused.value.code == "invalid_priors"
    with pytest.raises(InvalidRequest, match="the mask is 48x64 pixels and the photograph 64x48"):
        client.upload(good_photos(2), masks={"photo_0.jpg": mask((48, 64))})


def test_a_process_that_begins_anew_finds_its_job_unless_other_things_are_known(api: Api, client: Client) -> None:
    def job(cameras: dict[str, Any], resume: str | None = None) -> Any:
        capture = client.upload(good_photos(2), cameras=cameras, masks={"photo_0.jpg": mask()}, resume=resume)
        return client.submit(capture.id, Wishes(), idempotency_key=Wishes().key_for(capture))

    first = job(CAMERAS)
    stored = api.stored(f"captures/{first.capture_id}/priors/")
    assert job(CAMERAS, first.capture_id).id == first.id
    assert api.stored(f"captures/{first.capture_id}/priors/") == stored  # nothing was stored twice
    other = job({"exif_focal_sigma": 0.03}, first.capture_id)
    assert other.id != first.id
    assert json.loads(given(api, first.id)["cameras", ""]) == CAMERAS


def test_what_is_said_of_a_photograph_that_is_left_out_goes_with_it(api: Api, client: Client) -> None:
    photos = [*good_photos(2), ("broken.jpg", text_as_photo())]
    cameras: dict[str, Any] = {
        **copy.deepcopy(CAMERAS),
        "shared_cameras": [["photo_0.jpg", "broken.jpg"]],
        "distances": [{"first": "photo_0.jpg", "second": "broken.jpg", "metres": 1}],
    }
    cameras["photos"]["broken.jpg"] = {"camera": camera()}
    capture = client.upload(photos, cameras=cameras, masks=[("broken.png", mask()), ("photo_1.png", mask())])
    found = given(api, client.submit(capture.id).id)
    assert set(found) == {("cameras", ""), ("mask", "photo_1.jpg")}
    del cameras["photos"]["broken.jpg"]
    assert json.loads(found["cameras", ""]) == {**cameras, "shared_cameras": [["photo_0.jpg"]], "distances": []}


def test_a_connection_that_breaks_loses_nothing(api: Api, flaky_client: Client, proxy: FlakyProxy) -> None:
    noise = encode(Image.fromarray(np.random.default_rng(0).integers(1, 65535, (48, 64), np.uint16)), "PNG")
    proxy.cuts_up = repeated(2000, 2)  # the depth map alone is large enough to be cut
    capture = flaky_client.upload(good_photos(2), cameras=CAMERAS, masks={"photo_0.jpg": mask()}, depths={"photo_1.jpg": noise})
    assert proxy.cut == 2
    assert (len(capture.images), len(capture.masks), len(capture.depths), capture.cameras is not None) == (2, 1, 1, True)
    assert given(api, flaky_client.submit(capture.id).id)["depth", "photo_1.jpg"] == noise


@pytest.mark.parametrize(
    ("masks", "told"),
    [
        ([("x.png", b"")], "belongs to no photograph"),
        ([("photo_0.png", b""), ("photo_0.jpg.png", b"")], "photo_0.jpg has two"),
        ([("same.png", b"")], "belongs to 2 photographs: same.jpg, same.png"),
    ],
)
def test_files_that_belong_to_nobody(masks: list[tuple[str, bytes]], told: str) -> None:
    photos = [as_photo((name, b"")) for name in ("photo_0.jpg", "same.jpg", "same.png")]
    if told.startswith("belongs to 2"):
        masks = [("same.jpeg", b"")]
    with pytest.raises(ValueError, match=told):
        gather_priors(photos, None, masks, None)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    broken, empty = tmp_path / "cameras.json", tmp_path / "empty"
    broken.write_text("{")
    empty.mkdir()
    with pytest.raises(ValueError, match="is not readable JSON"):
        gather_priors([], broken, None, None)
    broken.write_text("[]")
    with pytest.raises(ValueError, match="holds no JSON object"):
        gather_priors([], broken, None, None)
    with pytest.raises(ValueError, match="holds no mask"):
        gather_priors([], None, empty, None)
    with pytest.raises(ValueError, match=r"holds no \.png or \.npy file"):
        KnownFiles(depths=empty).depth_maps()


def test_depths_in_metres_become_png_in_millimetres(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    np.save(file, np.array([[np.nan, 1.2344], [0.0, 65.535]], np.float32))
    png = tmp_path / "a.png"
    png.write_bytes(depth_png(file))
    assert np.asarray(Image.open(png)).tolist() == [[0, 1234], [0, 65535]]
    for wrong in ([[-1.0]], [[70.0]], [[np.inf]], [1.0]):
        np.save(file, np.array(wrong, np.float32))
        with pytest.raises(ValueError, match=r"a\.npy"):
            depth_png(file)


def test_submit_takes_the_files_of_reconstruct(api: Api, worker: None, tmp_path: Path) -> None:
    photos = folder(tmp_path / "photos", dict(good_photos(2)))
    masks = folder(tmp_path / "masks", {"photo_0.png": mask()})
    depths = tmp_path / "depths"
    depths.mkdir()
    np.save(depths / "photo_1.npy", np.full((48, 64), 2.5, np.float32))
    (tmp_path / "cameras.json").write_text(json.dumps(CAMERAS))
    command = [sys.executable, "-m", "m3r", "submit", str(photos), "--url", api.url, "-o", str(tmp_path / "out")]
    command += ["--cameras", str(tmp_path / "cameras.json"), "--masks", str(masks), "--depths", str(depths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    (job,) = api.http.get("/v1/jobs").json()["items"]
    found = given(api, job["id"])
    assert set(found) == {("cameras", ""), ("mask", "photo_0.jpg"), ("depth", "photo_1.jpg")}
    (depths / "photo_2.npy").write_bytes((depths / "photo_1.npy").read_bytes())
    refused = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert refused.returncode == 1
    assert "photo_2.png belongs to no photograph" in refused.stderr
