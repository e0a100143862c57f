"""Between the contract and the engine: options, what became of each photograph, causes of failure, memory."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from mast3r_engine import errors
from mast3r_engine.errors import OptionsError
from mast3r_engine.reconstruction import PairStats, Reconstruction
from mast3r_engine.views import ImageGeometry
from services.adapters.objects import ObjectNotFound, OutOfSpace, StorageUnavailable
from services.adapters.settings import Settings
from services.contract.codes import JobErrorCode
from services.worker.engine import find_engine
from services.worker.failures import describe_death, describe_failure, is_device_fault
from services.worker.memory import count_oom_kills
from services.worker.translate import to_options, to_result


def scene(
    component: list[int], inliers: dict[tuple[int, int], int], unregistered: dict[int, str] | None = None
) -> Reconstruction:
    n = len(component)
    geometry = ImageGeometry(64, 48, 64, 48, 0, 0, 64, 48)
    names = [f"{index}.jpg" for index in range(n)]
    return Reconstruction(
        names=names,
        metric=True,
        cam2world=np.tile(np.eye(4), (n, 1, 1)),
        component=np.array(component),
        unregistered=[(index, names[index], reason) for index, reason in (unregistered or {}).items()],
        intrinsics=np.tile(np.eye(3), (n, 1, 1)),
        network_intrinsics=np.tile(np.eye(3), (n, 1, 1)),
        geometry=[geometry] * n,
        exif_orientation=[1] * n,
        depth=[np.ones((48, 64), np.float32)] * n,
        confidence=[np.ones((48, 64), np.float32)] * n,
        points=np.zeros((7, 3), np.float32),
        point_component=np.zeros(7, np.int64),
        colors=np.zeros((7, 3), np.uint8),
        point_confidence=np.ones(7, np.float32),
        normals=np.zeros((7, 3), np.float32),
        pairs=[PairStats(i, j, 2 * count, count) for (i, j), count in inliers.items()],
        stats={"seconds": {"load": 0.1234567, "align": 2}},
        warnings=["said by the engine"],
    )


def test_a_good_scene_is_told_as_good() -> None:
    result = to_result(scene([0, 0, 0], {(0, 1): 500, (1, 2): 400}), ["a.jpg", "b.jpg", "c.jpg"], {}, [])
    assert (result.quality.verdict, result.quality.reasons) == ("good", [])
    assert [photo.name for photo in result.registered] == ["a.jpg", "b.jpg", "c.jpg"]
    assert (result.scale.metric, result.scale.source) == (True, "network")
    assert (result.points, result.stage_seconds) == (7, {"load": 0.123, "align": 2.0})
    assert result.warnings == ["said by the engine"]


def test_unusable_and_unregistered_photos_keep_their_places() -> None:
    made = scene([0, -1, 0], {(0, 2): 300}, {1: "no pair holds"})
    result = to_result(made, ["a", "bad", "c", "d"], {1: "truncated"}, [])
    photos = [(photo.name, photo.registered, photo.reason) for photo in result.quality.photos]
    assert photos == [("a", True, None), ("bad", False, "truncated"), ("c", False, "no pair holds"), ("d", True, None)]
    assert result.quality.verdict == "fair"
    assert "2 of 4 photographs are not registered" in result.quality.reasons
    assert "bad was left out: truncated" in result.warnings


@pytest.mark.parametrize(
    ("component", "inliers", "verdict", "reason"),
    [
        ([0, 0, 1, 1], {(0, 1): 300, (2, 3): 300}, "fair", "2 parts"),
        ([0, 0, 0], {(0, 1): 300, (1, 2): 40}, "fair", "hang on few matches: 2.jpg"),
        ([0, 0, -1, -1, -1], {(0, 1): 300}, "poor", "3 of 5"),
        ([0], {}, "poor", "only one"),
    ],
)
def test_doubtful_scenes_are_told_with_the_reason(
    component: list[int], inliers: dict[tuple[int, int], int], verdict: str, reason: str
) -> None:
    names = [f"{index}.jpg" for index in range(len(component))]
    quality = to_result(scene(component, inliers), names, {}, []).quality
    assert quality.verdict == verdict
    assert any(reason in text for text in quality.reasons)


def test_options_arrive_in_the_engine_and_whole_floats_are_integers() -> None:
    options = to_options({"image_size": 224.0, "pairs": [[0, 1.0]], "fusion": {"max_points": 5.0, "min_confidence": 2.5}})
    assert (options.image_size, options.pairs) == (224, ((0, 1),))
    assert (options.fusion.max_points, options.fusion.min_confidence) == (5, 2.5)
    with pytest.raises(OptionsError, match=r"unknown option fusion\.colour"):
        to_options({"fusion": {"colour": 1}})


def torch_like_out_of_memory() -> Exception:
    return type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2 GiB")


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (errors.InvalidImageError("a.jpg", "truncated"), "invalid_image", False),
        (errors.TooFewImagesError("none"), "too_few_images", False),
        (errors.NoOverlapError("nothing holds"), "no_overlap", False),
        (errors.OutOfMemoryError("too much"), "out_of_memory", False),
        (errors.OptionsError("no such option"), "engine_error", False),
        (errors.CheckpointError("truncated"), "engine_error", False),
        (errors.NetworkOutputError("NaN"), "engine_error", False),
        (errors.EngineError("?"), "engine_error", False),
        (MemoryError(), "out_of_memory", False),
        (torch_like_out_of_memory(), "out_of_memory", False),
        (SoftTimeLimitExceeded(), "timeout", True),
        (TimeLimitExceeded(60), "timeout", True),
        (ObjectNotFound("captures/x"), "storage_unavailable", True),
        (StorageUnavailable("away"), "storage_unavailable", True),
        (OutOfSpace("full"), "storage_unavailable", True),
        (OSError(errno.ENOSPC, "No space left on device"), "storage_unavailable", True),
        (FileNotFoundError(errno.ENOENT, "missing"), "engine_error", False),
        (KeyError("x"), "engine_error", False),
    ],
)
def test_every_failure_has_its_code(error: Exception, code: str, retryable: bool) -> None:
    described = describe_failure(error, 60)
    assert (described.code, described.retryable) == (JobErrorCode(code), retryable)
    assert described.message
    assert described.hint


def test_device_faults_are_told_from_plain_errors_and_from_memory() -> None:
    assert is_device_fault(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert is_device_fault(RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED when calling cublasSgemm"))
    assert not is_device_fault(torch_like_out_of_memory())
    assert not is_device_fault(RuntimeError("shapes do not match"))
    wrapped = errors.EngineError("decode failed")
    wrapped.__cause__ = RuntimeError("CUDA error: device-side assert triggered")
    assert is_device_fault(wrapped)


@pytest.mark.parametrize(
    ("reason", "rose", "code"),
    [
        ("Worker exited prematurely: signal 9 (SIGKILL) Job: 3.", True, "out_of_memory"),
        ("Worker exited prematurely: signal 9 (SIGKILL) Job: 3.", False, "worker_lost"),
        ("Worker exited prematurely: signal 11 (SIGSEGV) Job: 3.", True, "worker_lost"),
        ("Worker exited prematurely: exitcode 9 Job: 3.", True, "worker_lost"),
    ],
)
def test_only_a_kill_with_a_risen_counter_is_out_of_memory(reason: str, rose: bool, code: str) -> None:
    described = describe_death(reason, rose)
    assert described.code is JobErrorCode(code)
    assert "Job:" not in described.message


def test_the_oom_counter_is_read_from_either_version_of_cgroups(tmp_path: Path) -> None:
    v1, v2, absent = tmp_path / "memory.oom_control", tmp_path / "memory.events", tmp_path / "absent"
    v1.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    v2.write_text("low 0\nhigh 0\nmax 12\noom 5\noom_kill 4\noom_group_kill 0\n")
    assert count_oom_kills([v2, v1]) == 4
    assert count_oom_kills([absent, v1]) == 3
    assert count_oom_kills([absent]) == 0


def test_the_memory_limit_turns_into_a_memory_error() -> None:
    program = (
        "from services.worker.memory import limit_memory\nlimit_memory(256 * 2**20)\n"
        "try:\n    held = bytearray(512 * 2**20)\nexcept MemoryError:\n    print('refused')\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "refused\n"
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] != 256 * 2**20


@pytest.mark.parametrize("name", ["", "nowhere", "services.worker.engine:absent", "no.such.module:load"])
def test_an_engine_that_cannot_be_found_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="it must be module:function"):
        find_engine(Settings(engine=name))


def test_the_workers_parent_loads_no_torch() -> None:
    program = (
        "import sys\nfrom services.adapters.settings import Settings\nfrom services.worker.app import create_worker_app\n"
        "import services.worker.tasks\ncreate_worker_app(Settings())\n"
        "assert not {'torch', 'numpy', 'boto3', 'mast3r_engine'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
