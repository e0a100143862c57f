"""Depth and confidence maps, read back by Pillow and numpy."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mast3r_engine.export import write_artifacts
from mast3r_engine.reconstruction import Reconstruction
from tests.engine.exported_oracle import oracle_scene, unpack
from tests.engine.room_reconstruction import room_reconstruction


def check_pictures(scene: Reconstruction, folder: Path, largest_step: float) -> None:
    write_artifacts(scene, folder, ["depth_png.zip"])
    place = unpack(folder / "depth_png.zip")
    about = json.loads((place / "maps.json").read_text(encoding="utf-8"))
    assert 0 < about["depth_step"] <= largest_step
    assert [entry["index"] for entry in about["maps"]] == np.flatnonzero(scene.component >= 0).tolist()
    for entry in about["maps"]:
        for kind, maps in (("depth", scene.depth), ("confidence", scene.confidence)):
            picture = Image.open(place / kind / entry["file"])
            assert picture.mode == "I;16"
            got, exact = np.asarray(picture) * about[f"{kind}_step"], maps[entry["index"]]
            np.testing.assert_array_equal(got == 0, ~np.isfinite(exact))
            assert np.nanmax(np.abs(got - np.where(np.isfinite(exact), exact, np.nan))) <= 0.501 * about[f"{kind}_step"]
        np.testing.assert_array_equal(entry["K"], scene.network_intrinsics[entry["index"]])


def test_pictures_hold_millimetres(tmp_path: Path) -> None:
    check_pictures(oracle_scene(), tmp_path, 0.001)
    assert json.loads((tmp_path / "depth_png" / "maps.json").read_text())["depth_step"] == 0.001
    assert (tmp_path / "depth_png" / "depth" / "000_photo_0_für.png").exists()


@pytest.mark.parametrize("metric", [True, False])
def test_depths_beyond_the_range_or_without_metres_get_a_step_that_fits(tmp_path: Path, metric: bool) -> None:
    scene = room_reconstruction(3, component=[0, -1, 1])
    scene.depth[0][5, 7] = np.nan
    far = dataclasses.replace(scene, metric=metric, depth=[100 * depth for depth in scene.depth])
    check_pictures(far, tmp_path, 0.02)


def test_arrays_come_back_exactly_without_pickles(tmp_path: Path) -> None:
    scene = room_reconstruction(3, component=[0, -1, 0])
    write_artifacts(scene, tmp_path, ["depth.npz"])
    with np.load(tmp_path / "depth.npz", allow_pickle=False) as arrays:
        assert arrays["names"].tolist() == scene.names
        np.testing.assert_array_equal(arrays["cam2world"], scene.cam2world)
        np.testing.assert_array_equal(arrays["intrinsics"], scene.network_intrinsics)
        np.testing.assert_array_equal(arrays["component"], [0, -1, 0])
        assert sorted(name for name in arrays.files if name.startswith("depth")) == ["depth_000", "depth_002"]
        for i in (0, 2):
            np.testing.assert_array_equal(arrays[f"depth_{i:03d}"], scene.depth[i])
            np.testing.assert_array_equal(arrays[f"confidence_{i:03d}"], scene.confidence[i])
