"""`m3r serve` as a user starts it: real processes, real HTTP, the real engine over an oracle network."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from plyfile import PlyData

from mast3r_engine.evaluation.oracle import grey_image, make_scene
from mast3r_engine.evaluation.trajectory import trajectory_errors
from tests.services import bad_files, oracle_engine

ROOT = Path(__file__).resolve().parents[2]
TERMINAL = ("succeeded", "failed", "canceled", "expired")


class Served:
    """A running `m3r serve` and a client of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "serve.log"
        ready = folder / "url"
        environment = {
            **os.environ,
            "M3R_ENGINE": "tests.services.oracle_engine:load_engine",
            "M3R_LOCALISATION_ENGINE": "tests.services.oracle_engine:load_localisation",
            "M3R_LEASE_S": "2",
            "M3R_MIN_FREE_DISK_BYTES": "0",
            "M3R_MAX_PHOTOS": "8",
        }
        environment.pop("M3R_REDIS_URL", None)
        command = [
            sys.executable,
            "-m",
            "m3r",
            "serve",
            "--port",
            "0",
            "--data",
            str(folder / "data"),
            "--ready-file",
            str(ready),
        ]
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sink, stderr=sink, start_new_session=True)
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        self.url = ready.read_text()
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def post(self, parts: list[tuple[str, bytes]], **fields: str) -> httpx.Response:
        return self.http.post("/v1/reconstructions", files=[("images", part) for part in parts], data=fields)

    def finish(self, response: httpx.Response) -> dict[str, Any]:
        assert response.status_code == 202, response.text
        job = response.json()
        deadline = time.monotonic() + 120
        while job["status"] not in TERMINAL:
            assert time.monotonic() < deadline, (job, self.log.read_text()[-4000:])
            job = self.http.get(f"/v1/jobs/{job['id']}", params={"wait": 5}).json()
        return dict(job)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    service = Served(tmp_path_factory.mktemp("serve"))
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.stop()


def grey_photos(count: int = oracle_engine.VIEWS) -> list[tuple[str, bytes]]:
    photos = []
    for k in range(count):
        target = io.BytesIO()
        Image.fromarray(grey_image(k, oracle_engine.HEIGHT, oracle_engine.WIDTH)).save(target, "PNG")
        photos.append((f"view-{k}.png", target.getvalue()))
    return photos


def test_photographs_become_true_cameras_and_a_readable_cloud(served: Served, tmp_path: Path) -> None:
    job = served.finish(served.post(grey_photos(), options=json.dumps({"scene_graph": "complete"})))
    assert job["status"] == "succeeded", job
    assert job["terminal"] is True
    artifacts = served.http.get(f"/v1/jobs/{job['id']}/artifacts").json()
    assert {"scene.ply", "poses.json", "preview.png"} <= {a["name"] for a in artifacts}
    content = {a["name"]: served.http.get(f"/v1/jobs/{job['id']}/artifacts/{a['name']}").content for a in artifacts}
    for artifact in artifacts:
        assert hashlib.sha256(content[artifact["name"]]).hexdigest() == artifact["sha256"]
        assert len(content[artifact["name"]]) == artifact["bytes"]

    poses = json.loads(content["poses.json"])
    assert [image["name"] for image in poses["images"]] == [f"view-{k}.png" for k in range(4)]
    assert all(image["registered"] for image in poses["images"])
    truth = np.stack([view.cam2world for view in make_scene(5, oracle_engine.HEIGHT, oracle_engine.WIDTH).views[:4]])
    estimate = np.array([image["cam2world"] for image in poses["images"]])
    errors = trajectory_errors(estimate, truth)
    assert errors.ate < 0.01, f"{errors} in a room of 6 m"
    assert errors.rotation < 0.5
    assert abs(errors.scale - 1) < 0.02  # metric
    cloud = PlyData.read(io.BytesIO(content["scene.ply"]))["vertex"]
    assert cloud.count == job["metrics"]["points"] > 1000
    assert Image.open(io.BytesIO(content["preview.png"])).size[0] >= 800


def test_submit_sends_follows_and_fetches(served: Served, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name, data in grey_photos(3):
        (photos / name).write_bytes(data)
    command = [sys.executable, "-m", "m3r", "submit", str(photos), "--url", served.url, "-o", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert {file.name for file in out.iterdir()} == {"scene.ply", "poses.json", "preview.png"}
    assert "3 of 3 photographs registered" in done.stdout

    (photos / "view-3.png").write_bytes(bad_files.text_as_photo())
    command += ["--options", '{"scene_graph": "spiral"}']
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode == 1
    assert "invalid_options" in refused.stderr
    assert "Traceback" not in refused.stderr


def one_good_job(served: Served) -> None:
    job = served.finish(served.post(grey_photos(2)))
    assert job["status"] == "succeeded", job


REFUSED = [
    ("text renamed", [("a.jpg", bad_files.text_as_photo())], 422, "invalid_image"),
    ("64 megapixels", [("a.webp", bad_files.SIXTY_FOUR_MEGAPIXELS.read_bytes())], 422, "invalid_image"),
    ("truncated", [("a.jpg", bad_files.truncated(bad_files.photo(1)))], 422, "invalid_image"),
    ("duplicate names", [("a.jpg", bad_files.photo(1)), ("a.jpg", bad_files.photo(2))], 422, "duplicate_name"),
    ("too many", [(f"{k}.jpg", bad_files.photo(k)) for k in range(9)], 422, "too_many_images"),
]


@pytest.mark.parametrize(("what", "parts", "status", "code"), REFUSED, ids=[r[0] for r in REFUSED])
def test_refused_at_the_door(served: Served, what: str, parts: list[tuple[str, bytes]], status: int, code: str) -> None:
    response = served.post(parts, options="{}")
    assert response.headers["content-type"].startswith("application/problem+json"), response.text
    assert (response.status_code, response.json()["code"]) == (status, code), response.text


def test_no_photograph_at_all_is_refused(served: Served) -> None:
    response = served.http.post("/v1/reconstructions", files={"options": (None, "{}")})
    assert (response.status_code, response.json()["code"]) == (422, "too_few_images"), response.text


ARCHIVES = [
    ("bomb", bad_files.zip_bomb(), 422, "invalid_archive"),
    ("parent path", bad_files.zip_with_parent_path(), 422, "invalid_archive"),
    ("link", bad_files.zip_with_link(), 422, "invalid_archive"),
]


@pytest.mark.parametrize(("what", "archive", "status", "code"), ARCHIVES, ids=[a[0] for a in ARCHIVES])
def test_bad_archives_are_refused(served: Served, what: str, archive: bytes, status: int, code: str) -> None:
    response = served.http.post("/v1/reconstructions", files={"archive": ("photos.zip", archive)})
    assert (response.status_code, response.json()["code"]) == (status, code), response.text


def test_unknown_options_are_refused_by_name(served: Served) -> None:
    response = served.post(grey_photos(2), options=json.dumps({"alignment": {"iterations": 3}}))
    assert (response.status_code, response.json()["code"]) == (422, "invalid_options")
    assert "iterations" in response.text


def test_a_body_cut_off_half_way_leaves_nothing(served: Served) -> None:
    before = served.http.get("/v1/jobs").json()
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        body = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n' + bad_files.photo(1)[:300]
        head = f"POST /v1/reconstructions HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        connection.sendall(head.encode() + f"Content-Length: {len(body) + 5000}\r\n\r\n".encode() + body)
    time.sleep(0.5)
    assert served.http.get("/v1/jobs").json() == before
    assert served.http.get("/healthz/live").status_code == 200


def test_photos_that_show_nothing_in_common_fail_as_no_overlap_and_the_worker_serves_on(served: Served) -> None:
    photos = grey_photos(oracle_engine.VIEWS + 1)
    job = served.finish(served.post([photos[0], photos[oracle_engine.STRANGER]]))
    assert (job["status"], job["error"]["code"]) == ("failed", "no_overlap"), job
    assert job["error"]["hint"]
    one_good_job(served)


def test_a_stranger_among_good_photographs_is_unregistered_with_a_reason(served: Served) -> None:
    job = served.finish(served.post(grey_photos(oracle_engine.VIEWS + 1)))
    assert job["status"] == "succeeded", job
    poses = served.http.get(f"/v1/jobs/{job['id']}/artifacts/poses.json").json()
    assert [image["registered"] for image in poses["images"]] == [True] * 4 + [False]
    assert poses["images"][4]["reason"]
    assert poses["images"][4]["cam2world"] is None


def test_what_the_engine_cannot_do_fails_by_name_and_the_worker_serves_on(served: Served) -> None:
    far = io.BytesIO()
    Image.new("RGB", (128, 96), (200, 200, 200)).save(far, "PNG")  # a grey level that names no view of the oracle
    job = served.finish(served.post([("a.png", far.getvalue())]))
    assert (job["status"], job["error"]["code"]) == ("failed", "engine_error"), job
    one_good_job(served)


def test_one_photograph_succeeds_with_a_warning(served: Served) -> None:
    job = served.finish(served.post(grey_photos(1)))
    assert job["status"] == "succeeded", job
    assert any("one photograph" in warning for warning in job["warnings"]), job["warnings"]


def test_odd_but_honest_files_do_not_hurt_the_worker(served: Served) -> None:
    odd = [("16.png", bad_files.sixteen_bit_png()), ("inks.jpg", bad_files.cmyk_jpeg()), ("dot.png", bad_files.one_pixel())]
    response = served.post(grey_photos(2) + odd)
    job = served.finish(response)
    assert job["terminal"] is True  # the oracle cannot know these pictures; what counts is that the job ends
    one_good_job(served)


def test_kill_nine_of_the_working_child_costs_nothing_but_time(served: Served) -> None:
    response = served.post(grey_photos(4))
    job_id = response.json()["id"]
    deadline = time.monotonic() + 60
    killed = False
    while not killed and time.monotonic() < deadline:
        job = served.http.get(f"/v1/jobs/{job_id}").json()
        assert job["status"] not in TERMINAL, "the job ended before it could be killed"
        if job["status"] == "running":
            for process in served.descendants():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if "spawn_main" in " ".join(process.cmdline()):
                        process.kill()
                        killed = True
        time.sleep(0.01)
    assert killed
    job = served.finish(response)
    assert job["status"] == "succeeded", job
    assert len(job["attempts"]) == 2
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["lost", "succeeded"]


def test_another_server_on_the_same_port_says_what_to_do(served: Served) -> None:
    port = served.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "m3r", "serve", "--port", port, "--data", str(served.folder / "other")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert port in result.stderr
    assert "--port 0" in result.stderr


def test_two_services_on_the_same_data_are_refused_in_one_line(served: Served) -> None:
    command = [sys.executable, "-m", "m3r", "serve", "--port", "0", "--data", str(served.folder / "data")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("M3R_")}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "use another folder" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_open_address_without_a_key_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "m3r", "serve", "--host", "0.0.0.0", "--port", "0", "--data", str(tmp_path)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("M3R_")}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "key" in result.stderr


def test_sigterm_stops_everything_that_was_started(tmp_path: Path) -> None:
    service = Served(tmp_path)
    started = service.descendants()
    assert len(started) >= 2  # the queue and the worker at least
    assert service.stop() == 0
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []


def test_workers_do_not_outlive_a_killed_service(tmp_path: Path) -> None:
    service = Served(tmp_path)
    started = service.descendants()
    workers = [p for p in started if "m3r.tethered" in " ".join(p.cmdline())]
    assert workers
    service.process.kill()
    service.process.wait()
    _, alive = psutil.wait_procs(workers, timeout=40)
    assert alive == []
    for process in started:  # the queue is left for the next service on the same data to take over; nobody will, here
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
