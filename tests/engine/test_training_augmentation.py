"""Sizes, upright photographs, crops, quarter turns, colours: geometry is carried exactly."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mast3r_engine.errors import TrainingError
from mast3r_engine.network import build_network
from mast3r_engine.predictions import Outputs
from mast3r_engine.training.batch import PairBatch
from mast3r_engine.training.captures.colour import grey, jitter_colours
from mast3r_engine.training.captures.frames import read_capture
from mast3r_engine.training.captures.second_crop import best_windows, crop_virtually, draw_windows
from mast3r_engine.training.captures.sized import read_sized
from mast3r_engine.training.captures.source import CaptureSource
from mast3r_engine.training.config import Augmentation, parse_config
from mast3r_engine.training.forward import predict
from mast3r_engine.training.oriented import predict_oriented
from mast3r_engine.training.quarter_turns import TurnedSource, turn_views
from mast3r_engine.training.stage_data import TrainingData
from tests.engine.test_training_captures import check_projection, plane_depth, write_capture
from tests.engine.test_training_loop import NETWORK

STAGE: dict[str, Any] = {"name": "s", "steps": 1, "batch": 4, "height": 24, "width": 32, "matches": 24}


def write_upright(folder: Path) -> None:
    """The capture of `write_capture` as cameras held upright would have taken it."""
    index = write_capture(folder)
    for image in index["images"]:
        photo, depth = folder / image["file"], folder / image["depth"]
        # A quarter clockwise: pixel (x, y) goes to (H - 1 - y, x), and the camera's axes turn with it.
        Image.fromarray(np.rot90(np.asarray(Image.open(photo)), -1)).save(photo)
        Image.fromarray(np.rot90(np.asarray(Image.open(depth)), -1)).save(depth)
        image["cx"], image["cy"] = 47 - image["cy"], image["cx"]
        pose = np.array(image["cam2world"])
        pose[:3, :3] = pose[:3, :3] @ np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
        image["cam2world"] = pose.tolist()
    (folder / "cameras.json").write_text(json.dumps(index))


def world_points(batch: PairBatch) -> torch.Tensor:
    """(B, 2, H, W, 3), straight from the definition of a camera matrix."""
    H, W = batch.depth.shape[-2:]
    y, x = torch.meshgrid(torch.arange(H).double(), torch.arange(W).double(), indexing="ij")
    pixels = torch.stack((x, y, torch.ones_like(x)), -1)
    rays = torch.einsum("bvij,hwj->bvhwi", batch.K.double().inverse(), pixels) * batch.depth[..., None]
    return (
        torch.einsum("bvij,bvhwj->bvhwi", batch.cam2world[..., :3, :3].double(), rays)
        + batch.cam2world[..., None, None, :3, 3].double()
    )


def test_upright_photographs_are_stored_transposed_and_fit(tmp_path: Path) -> None:
    write_capture(tmp_path / "wide")
    write_upright(tmp_path / "upright")
    upright = CaptureSource(tmp_path / "upright", 24, 32, matches=60).draw(5, 0, 0)
    wide = CaptureSource(tmp_path / "wide", 24, 32, matches=60).draw(5, 0, 0)
    assert bool(upright.portrait.all())
    assert not bool(wide.portrait.any())
    assert upright.images.shape == wide.images.shape == (5, 2, 3, 24, 32)
    assert float(upright.matched.float().mean()) > 0.3
    check_projection(upright)
    # The same points of the same wall, stored in another order.
    assert upright.depth.flatten().sort()[0] == pytest.approx(wide.depth.flatten().sort()[0], abs=2e-3)
    assert float(upright.K[0, 0, 0, 1]) == 30.0


def test_nearly_square_photographs_are_taken_both_ways(tmp_path: Path) -> None:
    index = write_capture(tmp_path)
    for image in index["images"]:
        for name in (image["file"], image["depth"]):
            pixels = np.asarray(Image.open(tmp_path / name))[:, :48]
            Image.fromarray(pixels).save(tmp_path / name)
    batch = CaptureSource(tmp_path, 24, 32, matches=20).draw(12, 0, 0)
    assert 4 < int(batch.portrait.sum()) < 20
    check_projection(batch)


@pytest.mark.parametrize("mode", ["same", "diff"])
def test_quarter_turns_move_neither_points_nor_matches(tmp_path: Path, mode: Any) -> None:
    write_capture(tmp_path / "wide")
    write_upright(tmp_path / "upright")
    source = CaptureSource(tmp_path, 24, 32, matches=40)
    before, after = source.draw(16, 1, 2), TurnedSource(source, mode).draw(16, 1, 2)
    check_projection(after)
    assert bool((after.portrait != before.portrait).any())
    assert not torch.equal(after.images, before.images)
    same = bool((after.portrait[:, 0] ^ before.portrait[:, 0]).eq(after.portrait[:, 1] ^ before.portrait[:, 1]).all())
    assert same == (mode == "same")
    old, new = world_points(before), world_points(after)
    for pair in range(16):
        for view in (0, 1):
            flips = [
                dims for dims in ((), (0,), (1,), (0, 1))
                if torch.equal(before.images[pair, view].flip([d - 2 for d in dims]), after.images[pair, view])
            ]  # fmt: skip
            assert len(flips) == 1
            assert float((old[pair, view].flip(flips[0]) - new[pair, view]).abs().max()) < 1e-4


def test_four_quarters_are_none_and_the_axes_stay_right_handed(tmp_path: Path) -> None:
    write_capture(tmp_path)
    batch = CaptureSource(tmp_path, 24, 32, matches=20).draw(3, 0, 0)
    turned = batch
    for _ in range(4):
        turned = turn_views(turned, torch.tensor([[1, 3]] * 3))
        # A camera as stored on disk would have it: fx, fy positive on the true image's axes.
        true = torch.where(turned.portrait[..., None, None], turned.K[..., [1, 0, 2], :], turned.K)
        assert float(true[..., 0, 0].min()) > 0
        assert float(true[..., 1, 1].min()) > 0
        assert float(torch.linalg.det(turned.cam2world[..., :3, :3]).min()) == pytest.approx(1, abs=1e-5)
        check_projection(turned)
    for name in ("images", "depth", "xy_first", "portrait"):
        assert torch.equal(getattr(turned, name), getattr(batch, name)), name
    assert torch.allclose(turned.xy_second, batch.xy_second, atol=1e-4)
    assert torch.allclose(turned.K, batch.K, atol=1e-4)
    assert torch.allclose(turned.cam2world, batch.cam2world, atol=1e-6)


def test_a_virtual_crop_is_the_view_of_a_turned_camera(tmp_path: Path) -> None:
    write_capture(tmp_path)
    frame = read_capture(tmp_path).frames[1]
    view = read_sized(frame, 48, 64)
    cropped = crop_virtually(view, torch.tensor([30.5, 8.5, 62.5, 32.5]), 24, 32)
    assert cropped.K[:2, 2].tolist() == [15.5, 11.5]
    assert cropped.K[0, 0] == cropped.K[1, 1] == 60
    middle = np.linalg.inv(view.K) @ [46.5, 20.5, 1]
    assert cropped.cam2world[:3, 2] == pytest.approx(view.cam2world[:3, :3] @ middle / np.linalg.norm(middle))
    y, x = np.mgrid[:24, :32]
    rays = np.stack([(x - 15.5) / 60, (y - 11.5) / 60, np.ones_like(x, float)], -1) @ cropped.cam2world[:3, :3].T
    n = np.array([-0.2, 0.0, 1.0])
    expected = (3 - cropped.cam2world[:3, 3] @ n) / (rays @ n)
    known = cropped.depth > 0
    assert known.mean() > 0.95
    assert np.abs(cropped.depth / expected - 1)[known].max() < 4e-3  # nearest depth: half a pixel of the wall's slope
    assert np.abs(plane_depth(view.K, view.cam2world) / view.depth - 1).max() < 1e-3


def test_a_virtual_crop_shows_the_same_colours(tmp_path: Path) -> None:
    write_capture(tmp_path)
    y, x = np.mgrid[:48, :64]
    ramp = np.stack((3 * x, 4 * y, 128 + 0 * x), -1).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "images" / "0.png")
    view = read_sized(read_capture(tmp_path).frames[0], 48, 64)
    cropped = crop_virtually(view, torch.tensor([3.5, 2.5, 43.5, 32.5]), 24, 32)
    rays = np.stack([*np.meshgrid(np.arange(32), np.arange(24)), np.ones((24, 32))], -1) @ np.linalg.inv(cropped.K).T
    back = rays @ cropped.cam2world[:3, :3].T @ view.K.T  # the first camera's axes are the world's
    source = back[..., :2] / back[..., 2:]
    inside = (source > 0).all(-1) & (source < [63, 47]).all(-1)
    assert inside.mean() > 0.9
    assert np.abs(cropped.pixels[..., :2] - source * [3, 4])[inside].max() < 1


def test_windows_that_share_most_are_taken() -> None:
    first = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10]])
    second = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10]])
    xy = torch.tensor([[12.0, 5], [13, 5], [14, 5], [3, 5]])
    a, b = best_windows((first, second), xy, xy - torch.tensor([0.0, 0]))
    assert a.tolist() == [10, 0, 20, 10]
    assert b.tolist() == [5, 0, 15, 10]
    boxes = draw_windows(53, 71, (48, 64), torch.Generator().manual_seed(0))
    sides = boxes[:, 2:] - boxes[:, :2]
    assert bool((boxes[:, :2] >= -0.5).all())
    assert bool((boxes[:, 2:] <= torch.tensor([70.5, 52.5]) + 1e-3).all())
    assert torch.allclose(sides[:, 0] / sides[:, 1], torch.tensor(64 / 48))
    assert float(sides[:, 0].min()) >= 64 - 1e-3


@pytest.mark.parametrize("upright", [False, True])
def test_pairs_fit_after_the_second_crop(tmp_path: Path, upright: bool) -> None:
    (write_upright if upright else write_capture)(tmp_path)
    source = CaptureSource(tmp_path, 24, 32, matches=60, augment=Augmentation(second_crop=0.5))
    batch = source.draw(8, 0, 0)
    check_projection(batch)
    assert bool(batch.portrait.all()) == upright
    focal = batch.K[:, :, 0, 1] if upright else batch.K[:, :, 0, 0]
    assert float(focal.std()) > 1  # the zoom differs
    assert float(batch.matched.float().mean()) > 0.25
    assert torch.equal(batch.images, source.draw(8, 0, 0).images)


def test_one_photograph_twice_has_no_motion(tmp_path: Path) -> None:
    write_capture(tmp_path)
    batch = CaptureSource(tmp_path, 24, 32, matches=20, augment=Augmentation(monocular=1.0)).draw(4, 0, 0)
    assert torch.equal(batch.depth[:, 0], batch.depth[:, 1])
    assert float((batch.xy_first - batch.xy_second).abs()[batch.matched].max()) < 1e-3
    assert not torch.equal(batch.images[:, 0], batch.images[:, 1])  # lens and colours differ


def test_colours_swing_within_their_limits() -> None:
    image = torch.full((200, 3, 2, 2), 0.3)
    image[:, 0] = 0.5
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(jitter_colours(image, generator, 0.0), image)
    out = jitter_colours(image, generator)
    ratio = grey(out).mean((1, 2, 3)) / grey(image).mean((1, 2, 3))
    assert 0.4 < float(ratio.min()) < 0.65  # a turn of the hue changes the luma a little
    assert 1.35 < float(ratio.max()) < 1.65
    spread = (out.amax(1) - out.amin(1))[:, 0, 0] / ratio  # colour over grey, of 0.2
    assert float(spread.max()) > 0.27
    assert float(spread.min()) < 0.13
    assert float((out[:, 1] - out[:, 2]).abs().max()) > 0.03  # hue: green and blue part


def test_every_batch_has_one_of_the_sizes_and_processes_agree(tmp_path: Path) -> None:
    write_capture(tmp_path / "mine")
    sizes = [[32, 24], [32, 16], [40, 24]]
    stage = {**STAGE, "sizes": sizes, "mix": [{"share": 1.0, "kind": "folder", "name": "mine"}]}
    config = parse_config({"network": {}, "stages": [stage], "validation_pairs": 1})
    data = TrainingData(config, None, {"mine": tmp_path / "mine"}, torch.device("cpu"))
    source = data.stage(config.stages[0]).source
    seen = []
    for number in range(12):
        shapes = [tuple(source.draw(2, seed, number).images.shape[-2:]) for seed in (0, 1)]
        assert shapes[0] == shapes[1]
        seen.append(shapes[0])
    assert set(seen) == {(24, 32), (16, 32), (24, 40)}
    data.close()
    with pytest.raises(TrainingError, match="landscape"):
        parse_config({"network": {}, "stages": [{**STAGE, "sizes": [[24, 32]]}]})
    with pytest.raises(TrainingError, match="second_crop 3"):
        parse_config({"network": {}, "stages": [{**STAGE, "augment": {"second_crop": 3.0}}]})
    with pytest.raises(TrainingError, match=r"unknown key 'stages\[0\]\.augment\.rot'"):
        parse_config({"network": {}, "stages": [{**STAGE, "augment": {"rot": 1}}]})


def test_the_network_sees_upright_views_as_they_were_taken() -> None:
    net = build_network(NETWORK, 3).eval()
    images = torch.rand(5, 2, 3, 24, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    portrait = torch.tensor([[0, 0], [0, 1], [1, 1], [1, 0], [0, 1]], dtype=torch.bool)
    with torch.no_grad():
        got = predict_oriented(predict, net, images, portrait, True, Outputs())
        for pair in range(5):
            views = [
                images[pair, v].transpose(-1, -2)[None] if bool(portrait[pair, v]) else images[pair, v][None] for v in (0, 1)
            ]
            for order, place in (((0, 1), pair), ((1, 0), 5 + pair)):
                expected = net(views[order[0]], views[order[1]])
                for k in (0, 1):
                    upright = bool(portrait[pair, order[k]])
                    for name in ("pts3d", "conf", "desc", "desc_conf"):
                        one = getattr(expected[k], name)[0]
                        one = one.transpose(0, 1) if upright else one
                        assert torch.allclose(getattr(got[k], name)[place], one, atol=1e-4, rtol=1e-4), (pair, order, name)


def test_batches_read_ahead_are_the_same_and_bounded(tmp_path: Path) -> None:
    write_capture(tmp_path)
    plain = CaptureSource(tmp_path, 24, 32, matches=20)
    with ThreadPoolExecutor(3) as pool:
        ahead = CaptureSource(tmp_path, 24, 32, matches=20, pool=pool)
        for number in range(6):
            for coming in range(number, number + 3):
                ahead.expect(3, 5, coming)
            assert len(ahead._coming) <= 3
            got, expected = ahead.draw(3, 5, number), plain.draw(3, 5, number)
            assert all(torch.equal(getattr(got, name), getattr(expected, name)) for name in vars(got))


def test_an_error_while_reading_ahead_comes_out_when_drawn(tmp_path: Path) -> None:
    index = write_capture(tmp_path)
    for number, image in enumerate(index["images"]):
        image["cam2world"][0][3] = 100.0 * number
    (tmp_path / "cameras.json").write_text(json.dumps(index))
    with ThreadPoolExecutor(1) as pool:
        source = CaptureSource(tmp_path, 24, 32, matches=20, pool=pool)
        source.expect(1, 0, 0)
        with pytest.raises(TrainingError, match="no usable pair"):
            source.draw(1, 0, 0)
    assert source.skipped["pairs with too little overlap"] == 50
