"""The examples for robots: the loop and the shell script over the service with the fake engine; the ROS node's arithmetic."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.adapters.embedded import EmbeddedRedis
from tests.services.conftest import make_settings
from tests.services.fake_localisation import photo_that
from tests.services.localisation_stand import Localising, open_localising

ROBOT = Path(__file__).resolve().parents[2] / "examples" / "robot"


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROBOT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def localising(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Localising]:
    folder = tmp_path_factory.mktemp("robot")
    with open_localising(make_settings(redis_server.url, folder), folder) as made:
        yield made


def step(x: float) -> np.ndarray[Any, Any]:
    T = np.eye(4)
    T[0, 3] = x
    return T


def grey(value: int, wish: str = "") -> bytes:
    """The fake finds it at x = value / 100."""
    return photo_that(wish, (value, value, value))


def test_the_loop_corrects_odometry_and_doubts_what_contradicts_it(localising: Localising, capsys: Any) -> None:
    robot = load("odometry_loop")
    map_id = localising.freeze()["id"]
    frames = [
        (grey(50, "do-lost"), np.eye(4)),  # not found yet: nothing is known
        (grey(100), np.eye(4)),
        *((grey(100 + 10 * k), step(0.15)) for k in range(1, 6)),  # odometry overestimates each step by half
        (grey(250, "do-lost"), step(0.1)),
        (grey(250, "do-nan"), step(0.0)),
    ]
    seen: list[Any] = []

    def drive() -> None:
        for belief, what in robot.follow(localising.http, map_id, iter(frames)):
            seen.append((None if belief is None else (belief.pose.copy(), belief.covariance.copy()), what))

    with pytest.raises(robot.httpx.HTTPStatusError):  # the last one is a fault of the service: said, not swallowed
        drive()
    assert seen[0] == (None, "not localised: no_overlap")
    assert [what for _, what in seen[1:7]] == ["found"] + ["corrected"] * 5
    x = seen[6][0][0][0, 3]
    assert 1.45 < x < 1.75  # between the fixes (1.5) and odometry alone (1.75)
    assert seen[7][1] == "not localised: no_overlap"
    assert seen[7][0][0][0, 3] == pytest.approx(x + 0.1)
    spread = [np.trace(known[1][:3, :3]) for known, _ in seen[1:] if known is not None]
    assert spread[5] < spread[6]  # with a fix it is surer than with odometry alone

    belief = robot.Belief(step(0.0), 1e-4 * np.eye(6))
    assert not belief.correct(step(5.0), 1e-4 * np.eye(6))
    assert belief.pose[0, 3] == 0


def test_a_robot_drives_on_when_the_service_is_away(localising: Localising) -> None:
    robot = load("odometry_loop")
    belief = robot.Belief(step(1.0), 1e-4 * np.eye(6))
    with robot.httpx.Client(base_url="http://127.0.0.1:9") as nobody:
        assert robot.ask(nobody, "map_x", grey(100), belief) is None
    belief.move(step(0.5))
    assert belief.pose[0, 3] == pytest.approx(1.5)


def test_perturbations_of_the_loop_are_the_service_s() -> None:
    robot, rng = load("odometry_loop"), np.random.default_rng(0)
    x = rng.normal(size=6) * 0.3
    np.testing.assert_allclose(robot.log_se3(robot.exp_se3(x)), x, atol=1e-12)
    pose, small = robot.exp_se3(rng.normal(size=6)), 1e-6 * rng.normal(size=6)
    left = robot.log_se3(pose @ robot.exp_se3(small) @ np.linalg.inv(pose))
    np.testing.assert_allclose(left, robot.adjoint(pose) @ small, atol=1e-10)


def test_the_shell_script_goes_all_three_ways(localising: Localising, tmp_path: Path) -> None:
    reference, query = tmp_path / "reference.jpg", tmp_path / "query.jpg"
    reference.write_bytes(grey(100))
    query.write_bytes(grey(120))
    job_id = localising.api.new_job()["id"]
    localising.api.finish(job_id, {"poses.json": b"{}"})
    command = ["sh", str(ROBOT / "localize.sh"), localising.api.url, str(reference), str(query), job_id]
    environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [answer["pose"]["frame"]["kind"] for answer in answers] == ["reference", "reference", "map"]
    wrong = subprocess.run(
        [*command[:3], str(query), str(reference), "job_x"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert wrong.returncode != 0


def test_the_ros_node_carries_the_covariance_to_the_position(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node itself needs ROS and is not run; what it computes by itself is."""
    for name in ("rclpy", "rclpy.node", "rclpy.qos", "geometry_msgs", "geometry_msgs.msg", "sensor_msgs", "sensor_msgs.msg"):
        stand_in = types.ModuleType(name)
        for member in (
            "Node",
            "qos_profile_sensor_data",
            "PoseStamped",
            "PoseWithCovarianceStamped",
            "CameraInfo",
            "CompressedImage",
        ):
            setattr(stand_in, member, object)
        monkeypatch.setitem(sys.modules, name, stand_in)
    node, robot = load("ros2_localize_node"), load("odometry_loop")
    rng = np.random.default_rng(1)
    L = 1e-4 * rng.normal(size=(6, 6))
    position = np.array([3.0, -4.0, 5.0])
    pose = step(0.0)
    pose[:3, 3] = position
    carried = np.array(node.of_the_pose((L @ L.T).tolist(), position.tolist()))
    sampled = [(robot.exp_se3(L @ rng.normal(size=6)) @ pose)[:3, 3] - position for _ in range(20_000)]
    np.testing.assert_allclose(carried[:3, :3], np.cov(np.array(sampled).T), rtol=0.1, atol=0.03 * np.abs(carried).max())
    np.testing.assert_allclose(carried[3:, 3:], (L @ L.T)[3:, 3:], atol=1e-15)
