"""Parts of localisation that need no server: poses, cameras, the cache, the kept scene, the watch over a hanging engine."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mast3r_engine import Options, reconstruct
from mast3r_engine.errors import StoredDataError
from mast3r_engine.evaluation.oracle import OracleNoise, grey_image, make_scene
from mast3r_engine.localisation import freeze_map
from services.adapters.settings import Settings
from services.contract.localisation import CameraIntrinsics, LocalizeQuery, Prior, quaternion_of
from services.worker.byte_cache import ByteCache
from services.worker.localisation import STUCK_EXIT, LocalisationWorker
from services.worker.localisation_state import load_scene, save_scene
from tests.services.oracle_engine import HEIGHT, VIEWS, WIDTH, TrainedOracle

angles = st.floats(-math.pi, math.pi)


@given(angles, angles, angles)
def test_quaternions_turn_as_their_matrices(a: float, b: float, c: float) -> None:
    def turn(axis: int, angle: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        R = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        R[i, i] = R[j, j] = math.cos(angle)
        R[i, j], R[j, i] = -math.sin(angle), math.sin(angle)
        return R

    R = turn(2, a) @ turn(1, b) @ turn(0, c)
    w, *v = quaternion_of(R.tolist())
    assert w >= 0
    assert math.hypot(w, *v) == pytest.approx(1)
    x = np.array([0.3, -0.7, 1.1])
    turned = x + 2 * np.cross(v, np.cross(v, x) + w * x)  # rotation by a unit quaternion
    np.testing.assert_allclose(turned, R @ x, atol=1e-9)


def test_half_turns_about_each_axis_have_quaternions() -> None:
    for axis in range(3):
        R = -np.eye(3)
        R[axis, axis] = 1.0
        expected = [0.0] * 4
        expected[1 + axis] = 1.0
        assert np.abs(quaternion_of(R.tolist())) == pytest.approx(expected)


def test_cameras_in_colmap_s_form_are_the_same_cameras() -> None:
    plain = CameraIntrinsics(fx=500, fy=500, cx=320, cy=240, width=640, height=480)
    colmap = {"model": "SIMPLE_PINHOLE", "width": 640, "height": 480, "params": [500, 320, 240]}
    assert CameraIntrinsics.model_validate(colmap) == plain
    for wrong in ({**colmap, "params": [500]}, {**colmap, "model": "FISHEYE"}, {"model": "PINHOLE"}, {**colmap, "params": "x"}):
        with pytest.raises(ValidationError):
            CameraIntrinsics.model_validate(wrong)


def test_a_mirror_is_no_pose() -> None:
    mirror = np.diag([-1.0, 1, 1, 1]).tolist()
    with pytest.raises(ValidationError, match="determinant"):
        Prior.model_validate({"pose": mirror, "radius": 1})
    with pytest.raises(ValidationError, match="last row"):
        Prior.model_validate({"pose": [*np.eye(4).tolist()[:3], [0, 0, 1, 1]], "radius": 1})
    assert LocalizeQuery.model_validate({"prior": {"pose": np.eye(4).tolist(), "radius": 1}}).prior is not None


def test_the_cache_forgets_what_was_unused_for_longest() -> None:
    cache: ByteCache[str] = ByteCache(100)
    for name in "abc":
        cache.put(name, name.upper(), 30)
    assert cache.get("a") == "A"  # used: b goes first now
    cache.put("d", "D", 30)
    assert [cache.get(name) for name in "abcd"] == ["A", None, "C", "D"]
    assert cache.bytes == 90
    cache.put("d", "DD", 40)
    assert (cache.get("d"), cache.bytes) == ("DD", 100)
    cache.put("huge", "H", 101)
    assert cache.get("huge") is None
    assert cache.get("a") == "A"
    cache.put("d", "gone", 101)
    assert (cache.get("d"), cache.bytes) == (None, 60)


def test_a_kept_scene_freezes_as_the_scene_itself(tmp_path: Path) -> None:
    net = TrainedOracle(make_scene(VIEWS + 1, HEIGHT, WIDTH), OracleNoise.none())
    images = [grey_image(k, HEIGHT, WIDTH) for k in range(VIEWS)]
    scene = reconstruct(images, net, Options())
    path = tmp_path / "scene.npz"
    save_scene(scene, path)
    kept = load_scene(path)
    assert (kept.names, kept.metric, kept.geometry) == (scene.names, scene.metric, scene.geometry)
    np.testing.assert_array_equal(kept.cam2world, scene.cam2world)
    np.testing.assert_array_equal(kept.component, scene.component)
    for ours, theirs in zip(kept.depth, scene.depth, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    frozen = freeze_map(kept, images, net)
    for photo, truth in zip(frozen.photos, freeze_map(scene, images, net).photos, strict=True):
        np.testing.assert_array_equal(photo.cam2map, truth.cam2map)
        np.testing.assert_allclose(photo.depth, truth.depth, rtol=1e-3)
    assert path.stat().st_size < 3 * VIEWS * HEIGHT * WIDTH  # bytes: below 3 a pixel
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for bad in (whole[: len(whole) // 2], b"", b"x" * 1000, bytes(flipped)):
        path.write_bytes(bad)
        with pytest.raises(StoredDataError):
            load_scene(path)


def test_a_worker_whose_engine_hangs_ends(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, ended = LocalisationWorker(settings), list[int]()
    monkeypatch.setattr(os, "_exit", ended.append)
    worker._end_if_stuck()
    worker._busy_since = 0.0  # long ago
    worker._end_if_stuck()
    assert ended == [STUCK_EXIT]
