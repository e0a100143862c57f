"""NodeODM's protocol with its own client, the package `pyodm` from PyPI, unchanged."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pyodm import Node
from pyodm.exceptions import NodeResponseError, TaskFailedError
from pyodm.types import TaskStatus

from services.adapters.embedded import free_port
from services.adapters.job_documents import JobDocuments
from services.adapters.job_store import JobStore
from services.adapters.settings import Settings
from tests.services.api_stand import good_photos
from tests.services.bad_files import text_as_photo
from tests.services.conftest import make_settings
from tests.services.nodeodm_stand import NodeOdm, open_nodeodm, working
from tests.services.service_stand import ROOT, wait_for

pytestmark = pytest.mark.timeout(180)

FILES = {"scene.ply": bytes(range(256)) * 900, "poses.json": b'{"schema_version": 1}', "preview.png": b"\x89PNG"}


@pytest.fixture
def nodeodm(settings: Settings) -> Iterator[NodeOdm]:
    with open_nodeodm(settings) as opened:
        yield opened


@pytest.fixture
def node(nodeodm: NodeOdm) -> Node:
    return Node("127.0.0.1", nodeodm.port)


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, data in good_photos(12):
        (folder / name).write_bytes(data)
    return [str(file) for file in sorted(folder.iterdir())]


def test_the_node_tells_what_it_is(node: Node, nodeodm: NodeOdm) -> None:
    info = node.info()
    assert node.version_greater_or_equal_than("1.4.0")  # parallel uploads
    assert (info.engine, info.max_images, info.task_queue_count) == ("m3r", 200, 0)
    assert info.total_memory > info.available_memory > 0
    assert info.cpu_cores >= 1
    assert info.max_parallel_tasks >= 1
    nodeodm.api.new_job()
    assert node.info().task_queue_count == 1


def test_the_options_are_of_the_protocols_types(node: Node) -> None:
    options = {option.name: option for option in node.options()}
    assert options["feature-quality"].type == "enum"
    assert options["feature-quality"].value in options["feature-quality"].domain
    assert {option.type for option in options.values()} <= {"int", "float", "string", "bool", "enum"}
    assert all(option.help and option.domain for option in options.values())


def test_a_task_goes_the_whole_way(node: Node, nodeodm: NodeOdm, settings: Settings, photos: list[str], tmp_path: Path) -> None:
    uploads: list[float] = []
    wishes = {"feature-quality": "high", "matcher-order": 3, "m3r-outputs": "scene.glb", "pc-filter": 0}
    task = node.create_task(photos, wishes, name="Roof", progress_callback=uploads.append, outputs=["mesh.ply", "odm_report"])
    assert uploads[-1] == 100.0
    queued = task.info()
    assert (queued.name, queued.status, queued.images_count, queued.processing_time) == ("Roof", TaskStatus.QUEUED, 12, -1)
    assert {option["name"]: option["value"] for option in queued.options} == wishes
    (record,) = nodeodm.api.store.list("default")[0]
    assert record.preset == "accurate"
    assert record.options == {"scene_graph": "swin-3-noncyclic", "fusion": {"clean": False}}
    assert record.outputs == ["scene.glb", "mesh.ply"]
    assert [image.name for image in record.images] == sorted(Path(photo).name for photo in photos)

    seen: list[Any] = []
    with working(settings, FILES, nodeodm.api, pause_s=0.5):
        task.wait_for_completion(status_callback=seen.append, interval=0.1)  # type: ignore[arg-type]
    assert [info.status for info in seen] == sorted((info.status for info in seen), key=lambda status: status.value)
    assert 50.0 in [info.progress for info in seen]
    assert (seen[-1].status, seen[-1].progress) == (TaskStatus.COMPLETED, 100.0)
    assert seen[-1].processing_time > 0

    lines = task.output()
    assert "12 images" in lines[0]
    assert any(line.startswith("stage: encode (50%") for line in lines)
    assert lines[-1] == "the task has ended: succeeded"
    assert task.output(2) == lines[2:]
    assert task.output(-2) == lines[-2:]
    assert task.info(with_output=-1).output == lines[-1:]

    heard: list[float] = []
    folder = Path(task.download_assets(str(tmp_path / "assets"), progress_callback=heard.append))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == FILES
    assert heard[-1] == pytest.approx(100.0)
    one = nodeodm.http.get(f"/task/{task.uuid}/download/scene.ply", headers={"Range": "bytes=10-19"})
    assert (one.status_code, one.content) == (206, FILES["scene.ply"][10:20])
    assert task.remove() is True
    with pytest.raises(NodeResponseError, match="not found"):
        task.info()
    assert nodeodm.api.stored(f"captures/{record.capture_id}/") == []
    assert [key for key in nodeodm.api.stored(f"jobs/{record.id}/") if "attempts" in key] == []


def test_cancel_restart_and_remove(node: Node, nodeodm: NodeOdm, settings: Settings, photos: list[str]) -> None:
    task = node.create_task(photos[:2])
    assert task.cancel() is True
    assert task.cancel() is True
    assert task.info().status is TaskStatus.CANCELED
    with pytest.raises(TaskFailedError):
        task.wait_for_completion(interval=0)
    assert task.restart({"m3r-image-size": 224}) is True
    assert task.info().status is TaskStatus.QUEUED
    (record,) = nodeodm.api.store.list("default")[0]  # the canceled job is gone
    assert record.options == {"image_size": 224}
    with pytest.raises(NodeResponseError, match="cancel it first"):
        task.restart()
    with working(settings, FILES, nodeodm.api):
        task.wait_for_completion(interval=0)
        assert task.restart() is True  # what has succeeded may be done again
        task.wait_for_completion(interval=0)
    (last,) = nodeodm.api.store.list("default")[0]
    assert last.options == {}
    with pytest.raises(NodeResponseError, match="ended already"):
        task.cancel()
    listed = nodeodm.http.get("/task/list").json()
    assert listed == [{"uuid": task.uuid}]
    assert task.remove() is True
    assert nodeodm.http.get("/task/list").json() == []


def test_a_task_that_runs_is_stopped_before_it_is_removed(node: Node, nodeodm: NodeOdm, photos: list[str]) -> None:
    task = node.create_task(photos[:2])
    (record,) = nodeodm.api.store.list("default")[0]
    token = nodeodm.api.claim(record.id)
    with ThreadPoolExecutor() as pool:
        removing = pool.submit(task.remove)
        wait_for(lambda: nodeodm.api.record(record.id).status == "canceling", what="the request to stop")
        assert nodeodm.api.store.finish_canceled(record.id, token)
        assert removing.result(30) is True
    assert nodeodm.api.record(record.id).deleted_at is not None


def test_a_failed_task_says_why(node: Node, nodeodm: NodeOdm, photos: list[str]) -> None:
    from services.contract.codes import JobErrorCode
    from services.contract.jobs import JobError

    task = node.create_task(photos[:2])
    (record,) = nodeodm.api.store.list("default")[0]
    error = JobError(code=JobErrorCode.NO_OVERLAP, message="nothing fits", retryable=False, hint="Take more photographs.")
    nodeodm.api.store.fail(record.id, nodeodm.api.claim(record.id), error)
    info = task.info()
    assert info.status is TaskStatus.FAILED
    assert info.last_error == "no_overlap: nothing fits Take more photographs."
    assert "[ERROR] no_overlap: nothing fits" in task.output()
    with pytest.raises(NodeResponseError, match="Cannot download task"):
        task.download_assets("nowhere")


def test_two_clients_at_once_do_not_mix(nodeodm: NodeOdm, settings: Settings, photos: list[str], tmp_path: Path) -> None:
    chosen = [str(uuid.uuid4()), str(uuid.uuid1())]

    def whole_way(at: int) -> tuple[str, int]:
        task = Node("127.0.0.1", nodeodm.port).create_task(photos[at : at + 5 + at], name=f"task {at}", task_uuid=chosen[at])
        task.wait_for_completion(interval=0.05)  # type: ignore[arg-type]
        task.download_assets(str(tmp_path / str(at)))
        return task.uuid, task.info().images_count

    with working(settings, FILES, nodeodm.api), ThreadPoolExecutor() as pool:
        assert list(pool.map(whole_way, [0, 1])) == [(chosen[0], 5), (chosen[1], 6)]
    assert {path.name for path in (tmp_path / "0").iterdir()} == set(FILES)


def test_a_task_survives_restarts_and_a_redis_that_lost_everything(settings: Settings, photos: list[str], tmp_path: Path) -> None:
    with open_nodeodm(settings) as before:
        begun = before.http.post("/task/new/init", files={"name": (None, "begun")}).json()["uuid"]
        done = Node("127.0.0.1", before.port).create_task(photos[:2], name="done").uuid
        with working(settings, FILES, before.api):
            Node("127.0.0.1", before.port).get_task(done).wait_for_completion(interval=0)
        (record,) = before.api.store.list("default")[0]
        JobDocuments(before.api.store, before.api.objects).write(record.id)  # as a worker does at the end
    lost = JobStore(settings).redis
    for key in lost.scan_iter(match=settings.key_prefix + "*"):
        lost.delete(key)
    with open_nodeodm(settings) as after:
        node = Node("127.0.0.1", after.port)
        info = node.get_task(done).info()
        assert (info.name, info.status, info.images_count) == ("done", TaskStatus.COMPLETED, 2)
        node.get_task(done).download_assets(str(tmp_path / "assets"))
        assert (tmp_path / "assets" / "scene.ply").read_bytes() == FILES["scene.ply"]
        image = {"images": ("a.jpg", Path(photos[0]).read_bytes())}
        assert after.http.post(f"/task/new/upload/{begun}", files=image).json() == {"success": True}
        assert after.http.post(f"/task/new/commit/{begun}").json() == {"uuid": begun}
        assert node.get_task(begun).info().status is TaskStatus.QUEUED


def test_a_uuid_is_used_once(node: Node, photos: list[str]) -> None:
    chosen = str(uuid.uuid4())
    task = node.create_task(photos[:1], task_uuid=chosen)
    with pytest.raises(NodeResponseError, match="there is a task"):
        node.create_task(photos[:1], task_uuid=chosen)
    assert task.info().images_count == 1


def test_the_older_way_in_one_request(node: Node, nodeodm: NodeOdm, photos: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = str(uuid.uuid4())
    task = node.create_task_fallback(photos[:3], {"feature-quality": "low"}, name="old", task_uuid=chosen)
    assert (task.uuid, task.info().name, task.info().images_count) == (chosen, "old", 3)
    (record,) = nodeodm.api.store.list("default")[0]
    assert record.preset == "fast"
    with pytest.raises(NodeResponseError, match="unknown option 'dsm'"):
        node.create_task_fallback(photos[:3], {"dsm": True})
    assert len(nodeodm.api.stored("captures/")) == len(nodeodm.api.stored(f"captures/{record.capture_id}/"))


def test_wishes_that_cannot_be_met_are_refused_before_the_upload(node: Node, nodeodm: NodeOdm, photos: list[str]) -> None:
    for options, words in [
        ({"dsm": True}, "unknown option 'dsm'"),
        ({"feature-quality": "best"}, "ultra, high"),
        ({"matcher-order": "many"}, "type int"),
        ({"m3r-image-size": 5}, "image_size"),
        ({"m3r-shared-intrinsics": "perhaps"}, "type bool"),
        ({"m3r-options": '{"spiral": 1}'}, "spiral"),
        ({"m3r-outputs": "scene.doc"}, "scene.doc"),
    ]:
        with pytest.raises(NodeResponseError, match=words):
            node.create_task(photos, options)
    with pytest.raises(NodeResponseError, match="webhook"):
        node.create_task(photos, webhook="http://169.254.169.254/latest")
    assert nodeodm.api.stored("captures/") == []


def test_files_of_another_program_are_noted_and_bad_images_named(node: Node, photos: list[str], tmp_path: Path) -> None:
    (tmp_path / "gcp_list.txt").write_text("EPSG:32610\n")
    task = node.create_task([*photos[:2], str(tmp_path / "gcp_list.txt")])
    assert task.info().images_count == 2
    assert "[WARNING] gcp_list.txt was not read: it has no meaning here" in task.output()
    (tmp_path / "letter.jpg").write_bytes(text_as_photo())
    with pytest.raises(NodeResponseError, match=r"image .*letter\.jpg"):
        node.create_task([str(tmp_path / "letter.jpg")], max_retries=0)


def test_tokens_are_the_services_keys(redis_server: Any, tmp_path: Path, photos: list[str]) -> None:
    good = hashlib.sha256(b"m3r_good").hexdigest()
    with open_nodeodm(make_settings(redis_server.url, tmp_path, api_key_sha256s=(good,))) as opened:
        task = Node("127.0.0.1", opened.port, "m3r_good").create_task(photos[:1])
        assert task.info().images_count == 1
        stranger = Node("127.0.0.1", opened.port, "m3r_bad")
        for ask in (stranger.info, stranger.options, stranger.get_task(task.uuid).info, stranger.get_task(task.uuid).remove):
            with pytest.raises(NodeResponseError, match="Unauthorized"):
                ask()
        # Not with pyodm: its nodes without a token send that of the last node that had one.
        answer = opened.http.get("/info")
        assert (answer.status_code, list(answer.json())) == (401, ["error"])
        assert opened.http.get("/auth/info").json()["loginUrl"] is None
        assert Node("127.0.0.1", opened.port, "m3r_good").get_task(task.uuid).remove() is True


@pytest.mark.slow
def test_m3r_serve_answers_both_ports_and_ends_when_told(photos: list[str], tmp_path: Path) -> None:
    port, ready = free_port(), tmp_path / "url"
    command = [sys.executable, "-m", "m3r", "serve", "--port", "0", "--data", str(tmp_path / "data"), "--no-localisation"]
    command += ["--ready-file", str(ready), "--nodeodm-port", str(port)]
    environment = {**os.environ, "M3R_ENGINE": "tests.services.fake_engine:load"}
    environment.pop("M3R_REDIS_URL", None)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(ready.exists, 60, "the service")
        task = Node("127.0.0.1", port).create_task(photos[:3])
        task.wait_for_completion(interval=0.2)  # type: ignore[arg-type]
        folder = Path(task.download_assets(str(tmp_path / "assets")))
        assert {"scene.ply", "poses.json", "preview.png"} == {file.name for file in folder.iterdir()}
        process.terminate()
        assert process.wait(60) == 0, (tmp_path / "log").read_text()[-3000:]
    finally:
        if process.poll() is None:
            process.kill()


def test_uuids_that_are_not_there_or_none(node: Node) -> None:
    for wrong in (str(uuid.uuid4()), "not-a-uuid", "../../etc"):
        task = node.get_task(wrong)
        for ask in (task.info, task.output, task.cancel, task.remove, task.restart):
            with pytest.raises(Exception, match=r"not found|not a UUID|Unexpected status code|404"):
                ask()
