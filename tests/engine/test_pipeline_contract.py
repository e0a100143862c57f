"""How `reconstruct` calls what stands in for the network, and what it tells its caller on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mast3r_engine
from mast3r_engine import Encoded, InvalidImageError, NoOverlapError, Options, OptionsError, TooFewImagesError, reconstruct
from mast3r_engine.network import build_network
from mast3r_engine.predictions import Outputs
from mast3r_engine.progress import STAGES
from tests.engine.standing_in import Decoded, StandIn, exact_oracle, numbers, photos
from tests.engine.tiny_networks import MAST3R


def test_the_public_names_are_sorted_and_there() -> None:
    assert mast3r_engine.__all__ == sorted(mast3r_engine.__all__)
    assert all(hasattr(mast3r_engine, name) for name in mast3r_engine.__all__)
    assert {"load_network", "build_network", "Encoded", "ViewPrediction", "reconstruct", "match"} < set(mast3r_engine.__all__)
    assert {"Options", "Reconstruction", "EngineError"} < set(mast3r_engine.__all__)


def test_every_image_is_encoded_once_and_every_ordered_pair_decoded_once() -> None:
    oracle = exact_oracle(3)
    net = StandIn(oracle)
    reconstruct(photos(oracle), net)
    images = torch.cat(net.encoded)
    assert images.dtype == torch.float32
    for k, image in enumerate(images):
        assert torch.equal(image, torch.full((3, 96, 128), (k / 255 - 0.5) / 0.5))
    passes = [pair for a, b in net.decoded for pair in zip(numbers(a), numbers(b), strict=True)]
    assert sorted(passes) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    assert all((a.height, a.width) == (96, 128) and a.tokens.shape[1:] == (48, 8) for a, _ in net.decoded)


class Choosy(StandIn):
    """Declares that heads can be left out."""

    supports_outputs = True
    asked: Outputs | None = None

    def decode(self, a: Encoded, b: Encoded, outputs: Outputs | None = None) -> Decoded:
        self.asked = outputs
        first, second = super().decode(a, b)
        empty = second.pts3d.new_empty(len(second.pts3d), 0, 0, 3)
        return first, mast3r_engine.ViewPrediction(empty, empty[..., 0], second.desc, second.desc_conf)


def test_heads_are_left_out_where_that_is_offered() -> None:
    oracle = exact_oracle(2)
    net = Choosy(oracle)
    scene = reconstruct(photos(oracle), net, Options.from_dict({"alignment": {"mode": "sparse"}}))
    assert net.asked == Outputs(points=(True, False), descriptors=(True, True))
    assert scene.component.tolist() == [0, 0]


def test_paths_pil_images_and_arrays_in_one_list(tmp_path: Path) -> None:
    oracle = exact_oracle(3)
    grey = photos(oracle)
    Image.fromarray(grey[0]).save(tmp_path / "first.png")
    scene = reconstruct([tmp_path / "first.png", Image.fromarray(grey[1]), grey[2]], oracle)
    assert scene.names == ["first.png", "image_001", "image_002"]
    assert scene.component.tolist() == [0, 0, 0]


def test_progress_names_every_stage_never_falls_and_ends_at_one() -> None:
    oracle = exact_oracle(3)
    net, seen = StandIn(oracle), []
    reconstruct(photos(oracle), net, on_progress=lambda stage, fraction: seen.append((stage, fraction)))
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] < 0.2
    assert seen[-1] == ("export", 1.0)
    assert {stage for stage, _ in seen} == set(STAGES)
    assert sum(stage == "decode" for stage, _ in seen) >= len(net.decoded)
    assert sum(stage == "align" for stage, _ in seen) > 5


class Canceled(Exception):
    pass


@pytest.mark.parametrize("where", STAGES)
def test_a_caller_can_cancel_in_every_stage(where: str) -> None:
    oracle = exact_oracle(2, 48, 64)

    def cancel(stage: str, fraction: float) -> None:
        if stage == where:
            raise Canceled(stage)

    with pytest.raises(Canceled, match=where):
        reconstruct(photos(oracle), oracle, on_progress=cancel)


def test_no_photograph() -> None:
    with pytest.raises(TooFewImagesError):
        reconstruct([], exact_oracle(1))


def test_a_bad_photograph_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    oracle = exact_oracle(2)
    with pytest.raises(InvalidImageError, match=r"text\.jpg"):
        reconstruct([*photos(oracle), tmp_path / "text.jpg"], oracle)


def test_a_bad_photograph_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    oracle = exact_oracle(3)
    grey, bad = photos(oracle), []
    given: list[Any] = [grey[0], tmp_path / "text.jpg", grey[1], grey[2]]
    options = Options(pairs=((0, 1), (0, 2), (2, 3)))
    scene = reconstruct(given, oracle, options, on_invalid=lambda index, error: bad.append((index, error.name)))
    assert bad == [(1, "text.jpg")]
    assert scene.names == ["image_000", "image_002", "image_003"]
    assert [(pair.i, pair.j) for pair in scene.pairs] == [(0, 1), (1, 2)]
    with pytest.raises(NoOverlapError, match="cannot be read"):
        reconstruct(given, oracle, Options(pairs=((0, 1),)), on_invalid=lambda index, error: None)
    with pytest.raises(TooFewImagesError, match="none of the 1"):
        reconstruct([tmp_path / "text.jpg"], oracle, on_invalid=lambda index, error: None)


def test_impossible_options_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="scene_graph"):
        reconstruct([tmp_path / "absent.jpg"] * 2, exact_oracle(1), Options(scene_graph="all"))
    with pytest.raises(OptionsError, match="indices must be 0 to 1"):
        reconstruct([tmp_path / "absent.jpg"] * 2, exact_oracle(1), Options(pairs=((0, 2),)))


def test_nothing_global_is_touched() -> None:
    oracle = exact_oracle(2, 48, 64)
    grad, threads, state = torch.is_grad_enabled(), torch.get_num_threads(), torch.get_rng_state()
    numpy_state = np.random.get_state()[1]
    reconstruct(photos(oracle), oracle)
    assert (torch.is_grad_enabled(), torch.get_num_threads()) == (grad, threads)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


@pytest.mark.parametrize(("options", "width"), [({}, 64), ({"max_image_size": 32}, 32), ({"max_image_size": 512}, 64)])
def test_the_largest_size_never_enlarges(options: dict[str, int], width: int) -> None:
    net = build_network(MAST3R)
    assert net.image_size == 64
    photo = np.zeros((60, 80, 3), np.uint8)
    assert reconstruct([photo], net, Options.from_dict(options)).depth[0].shape[1] == width
    asked = Options.from_dict({"image_size": 48, **options})
    assert reconstruct([photo], net, asked).depth[0].shape[1] == min(48, width)
