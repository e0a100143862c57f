"""The engine's own layout: written atomically, read back exactly; and descriptions of all layouts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from mast3r_engine.checkpoints import describe_checkpoint, load_default_network, load_network, save_network
from mast3r_engine.checkpoints import saving as saving_module
from mast3r_engine.errors import CheckpointError, OptionsError
from mast3r_engine.network import build_network
from tests.engine.checkpoint_files import assert_same_weights, tiny_dpt, tiny_linear, tiny_mast3r, write_hub_folder, write_pth
from tests.engine.tiny_networks import MAST3R


@pytest.mark.parametrize("make", [tiny_mast3r, tiny_dpt, tiny_linear])
def test_round_trip(make, tmp_path: Path) -> None:
    net = make()
    net.trained = True
    weights = save_network(net, tmp_path / "a" / "b")
    loaded = load_network(tmp_path / "a" / "b")
    assert_same_weights(loaded, net)
    assert loaded.config == net.config
    assert loaded.trained
    assert_same_weights(load_network(weights), net)


def test_config_is_strict_json_and_an_untrained_network_stays_one(tmp_path: Path) -> None:
    save_network(tiny_mast3r(), tmp_path, licence="Apache-2.0")
    content = json.loads((tmp_path / "config.json").read_text(), parse_constant=pytest.fail)
    assert content["network"]["depth_mode"] == ["exp", "-inf", "inf"]
    assert content["network"]["conf_mode"] == ["exp", 1.0, "inf"]
    assert not load_network(tmp_path).trained
    assert describe_checkpoint(tmp_path).licence_hint == "Apache-2.0"


@pytest.mark.parametrize(("dtype", "error"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_half_precision_on_disk(dtype: str, error: float, tmp_path: Path) -> None:
    net = tiny_mast3r()
    weights = save_network(net, tmp_path, dtype=dtype)
    whole = sum(parameter.numel() for parameter in net.parameters())
    assert 2 * whole < weights.stat().st_size < 2 * whole + 100_000
    loaded = load_network(tmp_path)
    for key, value in loaded.state_dict().items():
        right = net.state_dict()[key]
        assert value.dtype == torch.float32
        assert bool(((value - right).abs() <= error * right.abs() + 1e-7).all())


def test_saving_again_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    save_network(tiny_mast3r(), tmp_path)
    other = build_network(MAST3R, seed=8)
    weights = save_network(other, tmp_path)
    save_network(other, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", weights.name]
    assert_same_weights(load_network(tmp_path), other)


@pytest.mark.parametrize("step", ["_write_weights", "_write_config"])
def test_an_interrupted_save_leaves_the_old_checkpoint(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tiny_mast3r()
    save_network(old, tmp_path)

    def interrupt(*_: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(saving_module, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_network(build_network(MAST3R, seed=8), tmp_path)
    assert_same_weights(load_network(tmp_path), old)


def test_a_full_disk_leaves_the_old_checkpoint_and_no_fragment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tiny_mast3r()
    weights = save_network(old, tmp_path)

    def fill(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving_module, "save_file", fill)
    with pytest.raises(OSError, match="No space left"):
        save_network(build_network(MAST3R, seed=8), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", weights.name]
    assert_same_weights(load_network(tmp_path), old)


def test_weights_that_must_not_be_saved(tmp_path: Path) -> None:
    net = tiny_linear()
    with torch.no_grad():
        net.enc_norm.bias[0] = 1e6
    with pytest.raises(CheckpointError, match=r"enc_norm\.bias holds values too large for float16"):
        save_network(net, tmp_path / "new", dtype="float16")
    with torch.no_grad():
        net.enc_norm.bias[0] = float("nan")
    with pytest.raises(CheckpointError, match=r"enc_norm\.bias holds NaN"):
        save_network(net, tmp_path / "new")
    with pytest.raises(OptionsError, match="dtype is 'int8'"):
        save_network(net, tmp_path / "new", dtype="int8")
    assert not (tmp_path / "new").exists()


def test_a_channels_last_network_is_saved(tmp_path: Path) -> None:
    net = tiny_mast3r()
    save_network(net.to(memory_format=torch.channels_last), tmp_path)
    assert_same_weights(load_network(tmp_path), tiny_mast3r())


def test_descriptions(tmp_path: Path) -> None:
    net = tiny_mast3r()
    parameters = sum(parameter.numel() for parameter in net.parameters())
    pth = write_pth(tmp_path / "model.pth", net)
    sources = {
        "published .pth": (pth, pth),
        "hub folder": (write_hub_folder(tmp_path / "hub", net), tmp_path / "hub" / "model.safetensors"),
        "engine folder": (tmp_path / "own", save_network(net, tmp_path / "own", dtype="float16")),
    }
    for kind, (source, weights) in sources.items():
        description = describe_checkpoint(source)
        assert description.kind == kind
        assert description.class_name == "AsymmetricMASt3R"
        assert description.parameters == parameters
        assert description.dtype == ("float16" if kind == "engine folder" else "float32")
        assert description.path == weights
        assert description.size_bytes == weights.stat().st_size
        assert description.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
        assert description.config == net.config.to_dict()
        assert "not stated" in description.licence_hint
    assert describe_checkpoint(write_hub_folder(tmp_path / "dust3r", tiny_dpt())).class_name == "AsymmetricCroCo3DStereo"


def test_without_a_packaged_checkpoint_the_default_says_that_it_is_untrained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mast3r_engine.checkpoints.packaged.PACKAGED", tmp_path)
    net = load_default_network()
    assert not net.trained
    assert net.config.desc_dim == 24
    x = torch.rand(1, 3, 192, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        first, _ = net(x, x)
    assert bool(first.pts3d.isfinite().all())
