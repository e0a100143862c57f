"""Jobs on a real worker process: results, warnings, failures, poison. The worker serves on after each of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.adapters.embedded import EmbeddedRedis
from services.adapters.submission import submit_job
from services.contract.codes import JobErrorCode
from services.contract.jobs import JobRecord
from services.contract.keys import artifact, capture_image
from services.contract.states import JobStatus
from tests.services.conftest import make_settings
from tests.services.invariants import check_job
from tests.services.service_stand import Stand, is_gone, make_record, tiny_jpeg, wait_for


@pytest.fixture(scope="module")
def served(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """One worker for all tests of this file: each leaves it fit to serve the next."""
    folder = tmp_path_factory.mktemp("served")
    scratch = folder / "scratch"
    settings = make_settings(
        redis_server.url, folder, job_time_limit_s=8.0, max_attempts=2, memory_limit_bytes=900 * 2**20, scratch=str(scratch)
    )
    with Stand(settings, folder) as stand:
        stand.start_worker()
        yield stand
        assert list(scratch.glob("m3r-work-*")) == [], "working folders are removed"


def serves_the_next(stand: Stand) -> None:
    assert check_job(stand, stand.wait_terminal(stand.submit())).status is JobStatus.SUCCEEDED


def test_a_job_gives_its_artefacts_and_numbers(served: Stand) -> None:
    done = check_job(served, served.wait_terminal(served.submit(photos=3)))
    assert done.result is not None
    assert [made.name for made in done.result.artifacts] == ["scene.ply", "poses.json", "preview.png"]
    poses = json.loads(served.objects.read(artifact(done.id, done.result.token, "poses.json")))
    assert poses["images"] == ["photo-0.jpg", "photo-1.jpg", "photo-2.jpg"]
    metrics = done.result.metrics
    assert (metrics.images_used, metrics.images_total) == (3, 3)
    assert metrics.compute_s is not None
    assert 0 < metrics.compute_s < 10
    assert set(metrics.stage_seconds) == {"load", "encode", "pair", "decode", "match", "align", "fuse", "export"}


def test_the_engine_is_loaded_once_for_many_jobs(served: Stand) -> None:
    counts = []
    for _ in range(3):
        done = served.wait_terminal(served.submit())
        assert done.result is not None
        counts.append(json.loads(served.objects.read(artifact(done.id, done.result.token, "poses.json")))["jobs"])
    assert counts == [counts[0], counts[0] + 1, counts[0] + 2]


def test_progress_rises_and_names_every_stage(served: Stand) -> None:
    job = served.submit(fake={"seconds": 0.25})
    served.wait_stage(job, "match")
    midway = served.store.progress(job.id)
    assert midway is not None
    assert midway.eta_s is not None
    assert [stage.name for stage in midway.stages][:5] == ["load", "encode", "pair", "decode", "match"]
    served.wait_terminal(job)
    seen = [event.data for event in served.store.events(job.id) if event.event == "progress"]
    fractions = [data["fraction"] for data in seen]
    assert fractions == sorted(fractions)
    assert len({data["stage"] for data in seen}) >= 7


def test_a_duplicate_message_does_nothing(served: Stand) -> None:
    job = served.submit(fake={"seconds": 0.1})
    for _ in range(3):
        served.queue.send(job.id)
    done = served.wait_terminal(job)
    for _ in range(3):
        served.queue.send(job.id)
    serves_the_next(served)
    assert served.job(job) == done
    assert len(check_job(served, job).attempts) == 1


def test_a_message_for_no_job_does_nothing(served: Stand) -> None:
    served.queue.send("job_never_existed")
    serves_the_next(served)


def test_one_bad_photo_is_a_warning_that_names_it(served: Stand) -> None:
    record = make_record(served.settings, photos=2)
    bad = b"this is no photograph"
    upload_and_submit(served, record, {"photo-1.jpg": bad})
    done = served.wait_terminal(record)
    assert done.status is JobStatus.SUCCEEDED
    assert any("photo-1.jpg" in warning for warning in done.warnings)
    assert done.result is not None
    assert done.result.metrics.images_used == 1
    assert [photo.registered for photo in done.result.quality.photos] == [True, False]


def test_one_bad_photo_fails_a_strict_job(served: Stand) -> None:
    record = make_record(served.settings, photos=2, strict_images=True)
    upload_and_submit(served, record, {"photo-1.jpg": b"this is no photograph"})
    done = served.wait_terminal(record)
    assert done.error is not None
    assert done.error.code is JobErrorCode.INVALID_IMAGE
    assert "photo-1.jpg" in done.error.message


def upload_and_submit(stand: Stand, record: JobRecord, contents: dict[str, bytes]) -> None:

    images = []
    for image in record.images:
        data = contents.get(image.name, tiny_jpeg())
        stand.objects.put(capture_image(record.capture_id, image.name), data)
        images.append(image.model_copy(update={"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}))
    submit_job(record.model_copy(update={"images": images}), stand.store, stand.documents, stand.queue)


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("no-overlap", "no_overlap"),
        ("too-few-images", "too_few_images"),
        ("invalid-image", "invalid_image"),
        ("invalid-options", "engine_error"),
        ("invalid-checkpoint", "engine_error"),
        ("invalid-prediction", "engine_error"),
        ("surprise", "engine_error"),
        ("disk-full", "storage_unavailable"),
        ("out-of-memory", "out_of_memory"),
    ],
)
def test_failures_are_named_and_not_tried_again(served: Stand, what: str, code: str) -> None:
    done = check_job(served, served.wait_terminal(served.submit(fake={"do": what})))
    assert (done.status, done.error.code if done.error else None) == (JobStatus.FAILED, JobErrorCode(code))
    assert len(done.attempts) == 1
    assert done.error is not None
    assert done.error.hint


@pytest.mark.parametrize(("what", "said"), [("segfault", "signal 11"), ("exit", "exitcode 3"), ("sys-exit", "SystemExit(4)")])
def test_a_job_that_kills_its_process_is_capped_and_named(served: Stand, what: str, said: str) -> None:
    done = check_job(served, served.wait_terminal(served.submit(fake={"do": what})))
    assert done.error is not None
    serves_the_next(served)
    assert done.error.code is JobErrorCode.WORKER_LOST
    assert said in done.error.message
    assert [attempt.outcome for attempt in done.attempts] == ["lost", "lost"]


def test_a_photo_can_be_the_poison(served: Stand) -> None:
    record = make_record(served.settings, photos=1)
    record = record.model_copy(update={"images": [record.images[0].model_copy(update={"name": "do-segfault.jpg"})]})
    upload_and_submit(served, record, {})
    assert check_job(served, served.wait_terminal(record)).attempts[-1].outcome == "lost"
    serves_the_next(served)


def test_a_memory_hog_fails_as_out_of_memory_after_a_smaller_try(served: Stand) -> None:
    done = check_job(served, served.wait_terminal(served.submit(fake={"do": "hog"})))
    assert done.error is not None
    assert (done.error.code, len(done.attempts)) == (JobErrorCode.OUT_OF_MEMORY, 1)
    serves_the_next(served)


def test_what_does_not_fit_is_done_smaller_with_a_warning(served: Stand) -> None:
    done = check_job(served, served.wait_terminal(served.submit(fake={"do": "hog-when-large"})))
    assert done.status is JobStatus.SUCCEEDED
    assert any("memory did not suffice" in warning for warning in done.warnings)


def test_an_endless_loop_ends_as_timeout(served: Stand) -> None:
    done = check_job(served, served.wait_terminal(served.submit(fake={"do": "loop"})))
    assert done.error is not None
    assert (done.error.code, len(done.attempts)) == (JobErrorCode.TIMEOUT, 1)
    serves_the_next(served)


def test_native_code_that_hears_no_signal_is_killed_at_the_hard_limit(served: Stand) -> None:
    done = check_job(served, served.wait_terminal(served.submit(fake={"do": "native"})))
    assert done.error is not None
    assert (done.error.code, len(done.attempts)) == (JobErrorCode.TIMEOUT, 1)
    wait_for(lambda: is_gone(served.child_of(done)), 10, "the end of the child")
    serves_the_next(served)


def test_a_device_fault_ends_the_process_and_the_job_is_tried_in_another(served: Stand, tmp_path: Path) -> None:
    job = served.submit(fake={"do": "device", "once": str(tmp_path / "faulted")})
    done = check_job(served, served.wait_terminal(job))
    assert [attempt.outcome for attempt in done.attempts] == ["lost", "succeeded"]
    assert served.child_of(done, 0) != served.child_of(done, 1)
    wait_for(lambda: is_gone(served.child_of(done, 0)), 10, "the end of the child")
    assert done.attempts[0].error is not None
    assert "device failed" in done.attempts[0].error.message


def test_a_running_job_is_canceled_through_its_heartbeat(served: Stand) -> None:
    job = served.submit(fake={"stages": {"decode": 4}})
    served.wait_stage(job, "decode")
    child = served.child_of(job)
    assert served.store.request_cancel(job.id).status is JobStatus.CANCELING
    done = check_job(served, served.wait_terminal(job, 10))
    assert (done.status, done.attempts[-1].outcome) == (JobStatus.CANCELED, "canceled")
    assert not is_gone(child), "a child that stops by itself lives on"
    serves_the_next(served)


def test_a_child_that_does_not_hear_the_cancellation_is_killed(served: Stand) -> None:
    job = served.submit(fake={"do": "ignore", "at": "align"})
    served.wait_stage(job, "align")
    child = served.child_of(job)
    served.store.request_cancel(job.id)
    done = check_job(served, served.wait_terminal(job, 10))
    assert (done.status, done.attempts[-1].outcome) == (JobStatus.CANCELED, "canceled")
    wait_for(lambda: is_gone(child), 10, "the end of the child")
    serves_the_next(served)


def test_a_queued_job_is_canceled_at_once_and_never_runs(served: Stand) -> None:
    first = served.submit(fake={"seconds": 0.15})
    second = served.submit()
    assert served.store.request_cancel(second.id).status is JobStatus.CANCELED
    served.wait_terminal(first)
    serves_the_next(served)
    assert check_job(served, second).attempts == []


def test_twenty_jobs_at_once_on_one_worker_all_end_right(served: Stand) -> None:
    jobs = [served.submit(photos=1 + number % 3, labels={"n": str(number)}) for number in range(20)]
    for number, job in enumerate(jobs):
        done = check_job(served, served.wait_terminal(job, 60))
        assert done.status is JobStatus.SUCCEEDED
        assert done.result is not None
        assert done.result.metrics.images_used == 1 + number % 3
        assert len(done.attempts) == 1


def test_health_sees_the_worker_and_its_engine(served: Stand) -> None:
    workers = served.registry.workers()
    mine = next(worker for worker in workers if worker.pid == served.workers[0].pid)
    assert (mine.weights_loaded, mine.engine) == (True, "fake")
    assert (served.store.now() - mine.last_seen).total_seconds() < 10
