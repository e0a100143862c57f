"""Folders: the hub's layout, by path and by id."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from mast3r_engine.checkpoints import load_network
from mast3r_engine.errors import CheckpointError
from tests.engine.checkpoint_files import assert_same_weights, tiny_dpt, tiny_linear, tiny_mast3r, write_hub_folder


@pytest.mark.parametrize("make", [tiny_mast3r, tiny_dpt, tiny_linear])
def test_a_hub_folder_loads_exactly(make, tmp_path: Path) -> None:
    net = make()
    folder = write_hub_folder(tmp_path / "hub", net)
    assert "Infinity" in (folder / "config.json").read_text()
    loaded = load_network(folder)
    assert_same_weights(loaded, net)
    assert loaded.config == net.config
    assert_same_weights(load_network(folder / "model.safetensors"), net)


def test_what_hub_tools_add_to_a_config_does_not_matter(tmp_path: Path) -> None:
    folder = write_hub_folder(
        tmp_path, tiny_mast3r(), _commit_hash="abc", model_type="mast3r", landscape_only=True, freeze="none"
    )
    assert load_network(folder).config == tiny_mast3r().config


def test_a_second_decoder_is_derived_here_too(tmp_path: Path) -> None:
    folder = write_hub_folder(tmp_path, tiny_linear())
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if not k.startswith("dec_blocks2")}, folder / "model.safetensors")
    loaded = load_network(folder).state_dict()
    assert torch.equal(loaded["dec_blocks2.0.attn.qkv.weight"], weights["dec_blocks.0.attn.qkv.weight"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, r"a folder without config\.json"),
        ("", r"a config\.json that cannot be parsed"),
        ("[1]", "holds a list instead of an object"),
        ('{"enc_depth": 2,', r"a config\.json that cannot be parsed"),
        ("[" * 100_000, r"a config\.json that cannot be parsed"),
        ('{"hidden_size": 768}', r"config\.json: network config: unknown argument 'hidden_size'"),
        ('{"format": "other-engine", "format_version": 1}', "format 'other-engine' version 1"),
        ('{"format": "mast3r-engine", "format_version": 99}', "reads 'mast3r-engine' version 1"),
        ('{"format": "mast3r-engine", "format_version": 1, "weights": "../model.safetensors"}', r"weights are '\.\./model"),
        ('{"format": "mast3r-engine", "format_version": 1, "weights": "m.safetensors"}', "network is missing"),
        ('{"format": "mast3r-engine", "format_version": 1, "weights": "m.safetensors", "network": {}}', "without m.safetensors"),
        (" " * 1_000_001, r"a config\.json of 1,000,001 bytes"),
    ],
)  # fmt: skip
def test_bad_configs(config: str | None, message: str, tmp_path: Path) -> None:
    folder = write_hub_folder(tmp_path, tiny_linear())
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match=message):
        load_network(folder)


def test_a_config_of_another_size(tmp_path: Path) -> None:
    folder = write_hub_folder(tmp_path, tiny_linear(), enc_depth=3)
    with pytest.raises(CheckpointError, match=r"12 of \d+ tensors are missing \(enc_blocks\.2\."):
        load_network(folder)


@pytest.mark.parametrize(
    "damage", ["cut", "no weights", "not safetensors", "header length", "header json", "header offsets", "dtype"]
)
def test_bad_safetensors(damage: str, tmp_path: Path) -> None:
    folder = write_hub_folder(tmp_path, tiny_linear())
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if damage == "no weights":
        path.unlink()
    elif damage == "not safetensors":
        path.write_bytes(b"<html>")
    elif damage == "cut":
        path.write_bytes(content[:-1000])
    elif damage == "header length":
        path.write_bytes((length + 7).to_bytes(8, "little") + content[8:])
    elif damage == "header json":
        path.write_bytes(content[:8] + b"{" * length + content[8 + length :])
    else:
        entry = header["enc_norm.bias"]
        entry.update({"data_offsets": [0, 1 << 60]} if damage == "header offsets" else {"dtype": "X99"})
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    with pytest.raises(CheckpointError, match=r"without model\.safetensors|an HTML page|truncated or damaged safetensors"):
        load_network(folder)


def test_lone_safetensors(tmp_path: Path) -> None:
    folder = write_hub_folder(tmp_path / "hub", tiny_linear())
    lone = shutil.copy(folder / "model.safetensors", tmp_path / "lone.safetensors")
    with pytest.raises(CheckpointError, match=r"safetensors without a config\.json beside it"):
        load_network(lone)
    other = shutil.copy(lone, folder / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"not the weights that the config\.json beside it names \(model\.safetensors\)"):
        load_network(other)


def test_a_hub_id_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = tiny_mast3r()
    folder = write_hub_folder(tmp_path / "cache", net)
    asked: list[tuple[str, str]] = []

    def fetch(repository: str, name: str) -> str:
        asked.append((repository, name))
        return str(folder / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    assert_same_weights(load_network("naver/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric"), net)
    assert [name for _, name in asked] == ["config.json", "model.safetensors"]
    assert {repository for repository, _ in asked} == {"naver/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric"}


def test_a_hub_id_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(repository: str, name: str) -> str:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(
        CheckpointError, match=r"naver/nothing: no such file or folder, and the hub did not give it \(OSError: Network is"
    ):
        load_network("naver/nothing")


@pytest.mark.parametrize("source", ["../naver/x", "naver/x.pth", "a/b/c", "naver", "/naver/x"])
def test_texts_that_are_no_hub_id_ask_nobody(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(CheckpointError, match="no such file or folder; expected"):
        load_network(source)
