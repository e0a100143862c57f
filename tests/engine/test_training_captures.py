"""Captures with cameras and depth: reading, matches from depth, and what happens to broken ones."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mast3r_engine.errors import TrainingError
from mast3r_engine.training.batch import PairBatch, points_in_each
from mast3r_engine.training.captures.frames import find_captures, read_capture
from mast3r_engine.training.captures.reciprocal import reciprocal_pixels, sample_matches
from mast3r_engine.training.captures.sized import read_sized
from mast3r_engine.training.captures.source import CaptureSource
from mast3r_engine.training.config import parse_config
from mast3r_engine.training.losses.matching import gather_pixels
from mast3r_engine.training.mixture import MixedSource
from mast3r_engine.training.stage_data import TrainingData

WIDTH, HEIGHT = 64, 48


def plane_depth(K: NDArray[np.float64], pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """z-depth of the plane world z = 3 + 0.2 x seen from a camera."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x, float)], -1) @ pose[:3, :3].T
    n = np.array([-0.2, 0.0, 1.0])
    depth: NDArray[np.float64] = (3 - pose[:3, 3] @ n) / (rays @ n)
    return depth


def write_capture(folder: Path, frames: int = 3, **changes: Any) -> dict[str, Any]:
    """A capture of a slanted plane, cameras side by side; returns the index as written."""
    (folder / "images").mkdir(parents=True)
    K = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])
    images = []
    for number in range(frames):
        pose = np.eye(4)
        pose[0, 3] = 0.15 * number
        noise = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"{number}.png")
        Image.fromarray((plane_depth(K, pose) * 1000).round().astype(np.uint16)).save(folder / f"{number}_depth.png")
        images.append(
            {
                "file": f"images/{number}.png", "fx": 60.0, "fy": 60.0, "cx": 31.5, "cy": 23.5, "scene": "wall",
                "cam2world": pose.tolist(), "depth": f"{number}_depth.png",
            }
        )  # fmt: skip
    index = {"metric": True, "depth_scale": 0.001, "images": images, **changes}
    (folder / "cameras.json").write_text(json.dumps(index))
    return index


def rewrite(folder: Path, index: dict[str, Any]) -> None:
    (folder / "cameras.json").write_text(json.dumps(index))


def check_geometry(batch: PairBatch) -> None:
    in_first, _ = points_in_each(batch)
    first = gather_pixels(in_first[:, 0], batch.xy_first)
    second = gather_pixels(in_first[:, 1], batch.xy_second)
    # Rounded to whole pixels: half a pixel at 3 m and the capture's focal length.
    limit = 3.5 * 0.75 / float(batch.K[0, 0, 0, 0])
    assert float((first - second).norm(dim=-1)[batch.matched].max()) < limit
    check_projection(batch)


def check_projection(batch: PairBatch) -> None:
    """Every matched pixel of the first view, carried over by depth, cameras and poses, lands where the batch says."""
    _, in_second = points_in_each(batch)
    points = gather_pixels(in_second[:, 0], batch.xy_first)
    seen = points @ batch.K[:, 1].transpose(1, 2)
    landed = seen[..., :2] / seen[..., 2:]
    assert float((landed - batch.xy_second).norm(dim=-1)[batch.matched].max()) < 1e-2


def test_pairs_of_a_capture_fit_together(tmp_path: Path) -> None:
    write_capture(tmp_path / "wall")
    for size in ((48, 64), (24, 32), (32, 32)):
        source = CaptureSource(tmp_path, *size, matches=100)
        batch = source.draw(6, 0, 0)
        assert batch.images.shape == (6, 2, 3, *size)
        assert batch.images.dtype == torch.float32
        assert float(batch.images.abs().max()) <= 1
        assert bool(batch.metric.all())
        assert 0.3 < float(batch.matched.float().mean()) <= 0.8
        check_geometry(batch)
    assert torch.equal(source.draw(2, 3, 4).images, source.draw(2, 3, 4).images)


def test_matches_are_where_the_plane_says(tmp_path: Path) -> None:
    write_capture(tmp_path)
    capture = read_capture(tmp_path)
    frames = [read_sized(f, HEIGHT, WIDTH) for f in capture.frames[:2]]
    depth = torch.stack([torch.from_numpy(f.depth) for f in frames])
    K = torch.stack([torch.from_numpy(f.K) for f in frames])
    poses = torch.stack([torch.from_numpy(f.cam2world) for f in capture.frames[:2]])
    partner, kept = reciprocal_pixels(depth, K, poses)
    index = torch.arange(HEIGHT * WIDTH)[kept[0]]
    expected = index % WIDTH - 60 * 0.15 / depth[0].flatten()[index]
    assert float(kept[0].float().mean()) > 0.75
    assert float((partner[0][index, 0] - expected).abs().max()) < 1e-3  # between pixels: no rounding
    assert float((partner[0][index, 1] - index // WIDTH).abs().max()) < 1e-6
    # Nothing behind the camera, and nothing on another surface.
    turned = poses.clone()
    turned[1, :3, :3] = torch.diag(torch.tensor([-1.0, 1, -1], dtype=torch.float64))
    assert not bool(reciprocal_pixels(depth, K, turned)[1].any())
    nearer = torch.stack((depth[0], depth[1] * 0.8))
    assert float(reciprocal_pixels(nearer, K, poses)[1].float().mean()) == 0


def test_negatives_have_no_partner_and_fill_up(tmp_path: Path) -> None:
    kept = torch.zeros(2, 100, dtype=torch.bool)
    kept[:, :30] = True
    partner = torch.stack((torch.arange(100) % 10, torch.arange(100) // 10), -1)
    generator = torch.Generator().manual_seed(0)
    for count, positives in ((40, 20), (60, 30), (90, 30), (110, 30)):
        first, second, matched = sample_matches(partner, kept, 10, count, generator)
        assert first.shape == second.shape == (count, 2)
        assert int(matched.sum()) == positives
        flat = first[:, 1] * 10 + first[:, 0]
        assert bool((flat[matched] < 30).all())
        assert torch.equal(first[matched], second[matched])
        if count <= 100:
            assert bool((flat[~matched] >= 30).all())


def test_resizing_keeps_the_rays(tmp_path: Path) -> None:
    write_capture(tmp_path)
    frame = read_capture(tmp_path).frames[0]
    sized = read_sized(frame, 24, 24)  # the whole height, the middle 48 columns, at half the size
    assert sized.K[0, 0] == 30
    # The crop's left edge is column 8 of the photograph; both edges lie half a pixel outside the first centre.
    assert (-0.5 - sized.K[0, 2]) / sized.K[0, 0] == pytest.approx((7.5 - 31.5) / 60)
    assert (-0.5 - sized.K[1, 2]) / sized.K[1, 1] == pytest.approx((-0.5 - 23.5) / 60)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"depth": None}, "depth is missing"),
        ({"file": "images/none.png"}, r"none\.png does not exist"),
        ({"fx": -1.0}, "focal lengths positive"),
        ({"cam2world": [[1, 0], [0, 1]]}, "finite 4x4"),
        ({"cam2world": np.diag([2.0, 2, 2, 1]).tolist()}, "rotation"),
    ],
)
def test_a_frame_with_a_bad_entry_is_left_out(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    index = write_capture(tmp_path)
    index["images"][1].update(change)
    rewrite(tmp_path, index)
    capture = read_capture(tmp_path)
    assert len(capture.frames) == 2
    assert len(capture.refused) == 1
    assert re.search(reason, capture.refused[0])
    source = CaptureSource(tmp_path, 24, 32, matches=20)
    assert sum(source.skipped.values()) == 1


def test_a_broken_photograph_and_nan_depth_are_skipped_with_a_count(tmp_path: Path) -> None:
    index = write_capture(tmp_path, frames=4)
    (tmp_path / "images" / "1.png").write_bytes(b"\x89PNG broken")
    np.save(tmp_path / "nan.npy", np.full((HEIGHT, WIDTH), np.nan))
    index["images"][2]["depth"] = "nan.npy"
    rewrite(tmp_path, index)
    source = CaptureSource(tmp_path, 24, 32, matches=20)
    batch = source.draw(12, 0, 0)
    check_geometry(batch)
    assert any("1.png" in reason for reason in source.skipped)
    assert source.skipped["pairs with too little overlap"] > 0


def test_a_set_without_one_match_is_a_named_error(tmp_path: Path) -> None:
    index = write_capture(tmp_path)
    for number, image in enumerate(index["images"]):
        image["cam2world"][0][3] = 100.0 * number
    rewrite(tmp_path, index)
    with pytest.raises(TrainingError, match="no usable pair"):
        CaptureSource(tmp_path, 24, 32, matches=20).draw(1, 0, 0)


@pytest.mark.parametrize("content", ["{", "[]", '{"images": 3}'])
def test_an_index_that_is_none_is_a_named_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "cameras.json").write_text(content)
    with pytest.raises(TrainingError, match=r"cameras\.json cannot be read"):
        find_captures(tmp_path)


def test_a_root_without_captures_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no such file"):
        find_captures(tmp_path)


def test_listed_pairs_are_the_only_ones(tmp_path: Path) -> None:
    write_capture(tmp_path, pairs=[["images/0.png", "images/2.png"]])
    source = CaptureSource(tmp_path, 24, 32, matches=20)
    drawn = {(entry.first.image.stem, entry.second.image.stem) for entry in source.entries}
    assert drawn == {("0", "2"), ("2", "0")}


def test_a_stage_mixes_captures_and_rendered_pairs(tmp_path: Path) -> None:
    write_capture(tmp_path / "mine")
    stage = {
        "name": "mix", "steps": 1, "batch": 8, "height": 24, "width": 32, "matches": 16, "meshes": 0, "shadows": False,
        "mix": [{"share": 1.0}, {"share": 1.0, "kind": "folder", "name": "mine"}],
    }  # fmt: skip
    config = parse_config({"network": {}, "stages": [stage], "validation_pairs": 2})
    data = TrainingData(config, None, {"mine": tmp_path / "mine"}, torch.device("cpu"))
    batch = data.stage(config.stages[0]).source.draw(24, 0, 0)
    from_plane = (batch.K[:, 0, 0, 0] - 30).abs() < 1e-6
    assert 3 < int(from_plane.sum()) < 21
    with pytest.raises(TrainingError, match="--data mine=FOLDER"):
        TrainingData(config, None, {}, torch.device("cpu")).stage(config.stages[0])


def test_a_mixture_asks_each_source_for_other_numbers() -> None:
    asked: list[tuple[str, int]] = []

    @dataclasses.dataclass
    class Recorder:
        name: str

        def draw(self, count: int, seed: int, number: int) -> PairBatch:
            asked.append((self.name, number))
            zeros = torch.zeros(count, 2)
            return PairBatch(zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros.bool())

    batch = MixedSource([Recorder("a"), Recorder("b")], [1.0, 1.0], torch.device("cpu")).draw(32, 1, 5)
    assert batch.pairs == 32
    assert asked == [("a", 10), ("b", 11)]


def test_files_that_vanish_or_break_after_the_index_was_read_are_counted(tmp_path: Path) -> None:
    write_capture(tmp_path, frames=5)
    source = CaptureSource(tmp_path, 24, 32, matches=20)
    (tmp_path / "images" / "0.png").unlink()
    (tmp_path / "1_depth.png").write_bytes(b"")
    whole = (tmp_path / "images" / "2.png").read_bytes()
    (tmp_path / "images" / "2.png").write_bytes(whole[: len(whole) // 2])
    batch = source.draw(10, 0, 0)
    check_geometry(batch)
    reasons = " ".join(source.skipped)
    assert all(name in reason for name, reason in (("0.png", reasons), ("1.png", reasons), ("2.png", reasons)))


def test_depth_of_another_shape_is_named(tmp_path: Path) -> None:
    write_capture(tmp_path)
    Image.fromarray(np.full((10, 30), 3000, np.uint16)).save(tmp_path / "0_depth.png")
    with pytest.raises(TrainingError, match="the photograph's shape"):
        read_sized(read_capture(tmp_path).frames[0], 24, 32)
