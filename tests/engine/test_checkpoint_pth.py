"""Published .pth files: loaded exactly, and with the rules their key names need."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mast3r_engine.checkpoints import load_network
from mast3r_engine.errors import CheckpointError, OptionsError
from tests.engine.checkpoint_files import LINEAR_CONSTRUCTOR, assert_same_weights, tiny_linear, tiny_mast3r, write_pth


def test_a_published_file_loads_exactly(tmp_path: Path) -> None:
    net = tiny_mast3r()
    loaded = load_network(write_pth(tmp_path / "model.pth", net))
    assert_same_weights(loaded, net)
    assert loaded.config == net.config
    assert (loaded.trained, loaded.training, loaded.metric) == (True, False, True)
    x = torch.rand(2, 3, 48, 64) * 2 - 1
    with torch.inference_mode():
        for got, right in zip(loaded(x, x.flip(0)), net(x, x.flip(0))):
            assert torch.equal(got.pts3d, right.pts3d)


def test_a_linear_file_and_the_old_serialisation(tmp_path: Path) -> None:
    net = tiny_linear()
    assert_same_weights(load_network(str(write_pth(tmp_path / "new.pth", net, LINEAR_CONSTRUCTOR))), net)
    content = torch.load(tmp_path / "new.pth", weights_only=False)
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_same_weights(load_network(tmp_path / "old.pth"), net)


def test_the_file_may_be_overwritten_afterwards(tmp_path: Path) -> None:
    path, net = tmp_path / "model.pth", tiny_linear()
    loaded = load_network(write_pth(path, net, LINEAR_CONSTRUCTOR))
    path.write_bytes(bytes(path.stat().st_size))
    assert_same_weights(loaded, net)


@pytest.mark.parametrize("kept", ["scratch.layer_rn.", "_rn.weight"])
def test_either_name_of_a_shared_projection_suffices(kept: str, tmp_path: Path) -> None:
    net = tiny_mast3r()
    left_out = "_rn.weight" if kept == "scratch.layer_rn." else "scratch.layer_rn."
    weights = {key: value for key, value in net.state_dict().items() if left_out not in key}
    assert len(weights) == len(net.state_dict()) - 8
    assert_same_weights(load_network(write_pth(tmp_path / "model.pth", net, model=weights)), net)


def test_two_names_with_two_values_are_refused(tmp_path: Path) -> None:
    net = tiny_mast3r()
    key = "downstream_head2.dpt.scratch.layer_rn.1.weight"
    weights = net.state_dict() | {key: net.state_dict()[key] + 1}
    with pytest.raises(CheckpointError, match=r"layer2_rn\.weight and .*layer_rn\.1\.weight differ"):
        load_network(write_pth(tmp_path / "model.pth", net, model=weights))


def test_without_a_second_decoder_the_first_serves_twice(tmp_path: Path) -> None:
    net = tiny_mast3r()
    weights = {key: value for key, value in net.state_dict().items() if not key.startswith("dec_blocks2")}
    loaded = load_network(write_pth(tmp_path / "model.pth", net, model=weights)).state_dict()
    key = "blocks.1.mlp.fc1.weight"
    assert torch.equal(loaded[f"dec_{key}".replace("blocks", "blocks2")], weights[f"dec_{key}"])
    # Separate weights from then on: training one decoder must not change the other.
    assert loaded[f"dec_{key}".replace("blocks", "blocks2")].data_ptr() != loaded[f"dec_{key}"].data_ptr()


def test_a_second_decoder_in_part_is_refused(tmp_path: Path) -> None:
    net = tiny_mast3r()
    weights = {key: value for key, value in net.state_dict().items() if not key.startswith("dec_blocks2.1")}
    with pytest.raises(CheckpointError, match=r"tensors are missing \(dec_blocks2\.1\."):
        load_network(write_pth(tmp_path / "model.pth", net, model=weights))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"enc_norm.bias": None}, r"1 of \d+ tensors are missing \(enc_norm\.bias\)"),
        ({"enc_pos_embed": torch.zeros(3)}, r"1 of \d+ tensors too many \(enc_pos_embed\)"),
        ({"enc_norm.bias": torch.zeros(33)}, r"enc_norm\.bias has shape \(33,\); its config asks for \(32,\)"),
        ({"enc_norm.bias": torch.full((32,), float("nan"))}, r"enc_norm\.bias holds NaN"),
        ({"enc_norm.bias": torch.full((32,), float("-inf"))}, r"enc_norm\.bias holds NaN or infinite"),
        ({"enc_norm.bias": torch.zeros(32, dtype=torch.int64)}, r"enc_norm\.bias is int64"),
        ({"enc_norm.bias": torch.zeros(32).to_sparse()}, r"enc_norm\.bias is float32 \(torch\.sparse_coo\)"),
        ({"enc_norm.bias": "zeros"}, r"holds a str at 'enc_norm\.bias'"),
    ],
)
def test_weights_that_do_not_fit_are_named(change: dict, message: str, tmp_path: Path) -> None:
    net = tiny_mast3r()
    weights = {key: value for key, value in (net.state_dict() | change).items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        load_network(write_pth(tmp_path / "model.pth", net, model=weights))


def test_half_precision_files_load_as_float32(tmp_path: Path) -> None:
    net = tiny_mast3r()
    weights = {key: value.half() for key, value in net.state_dict().items()}
    loaded = load_network(write_pth(tmp_path / "model.pth", net, model=weights))
    assert all(value.dtype == torch.float32 for value in loaded.state_dict().values())
    assert torch.equal(loaded.enc_norm.weight, net.enc_norm.weight)


def test_bfloat16_computes_in_bfloat16_and_answers_in_float32(tmp_path: Path) -> None:
    loaded = load_network(write_pth(tmp_path / "model.pth", tiny_mast3r()), dtype="bfloat16")
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.inference_mode():
        assert loaded.encode(x).tokens.dtype == torch.bfloat16
        assert loaded(x, x)[0].pts3d.dtype == torch.float32
    assert loaded.enc_norm.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"dtype": "float16"}, "dtype is 'float16'; it must be float32 or bfloat16"), ({"device": "tpu"}, "device is 'tpu'")],
)
def test_impossible_precisions_and_devices(arguments: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match=message):
        load_network(write_pth(tmp_path / "model.pth", tiny_linear(), LINEAR_CONSTRUCTOR), **arguments)
