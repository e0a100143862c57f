"""Checkpoint files as others write them, made from a tiny network."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mast3r_engine.network import Network, build_network, projection_aliases
from tests.engine.tiny_networks import DPT, LINEAR, MAST3R

# The published recipe's spelling, with this network's sizes.
MAST3R_CONSTRUCTOR = (
    "AsymmetricMASt3R(pos_embed='RoPE100', patch_embed_cls='ManyAR_PatchEmbed', img_size=(64, 64), head_type='catmlp+dpt', "
    "output_mode='pts3d+desc8', depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), enc_embed_dim=32, enc_depth=2, "
    "enc_num_heads=2, dec_embed_dim=24, dec_depth=4, dec_num_heads=2, two_confs=True, desc_conf_mode=('exp', 0, inf), "
    "feature_dim=12, layer_dims=(8, 8, 12, 16))"
)
LINEAR_CONSTRUCTOR = (
    "AsymmetricCroCo3DStereo(pos_embed='RoPE100', img_size=(64, 64), head_type='linear', output_mode='pts3d', "
    "depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), enc_embed_dim=32, enc_depth=2, enc_num_heads=2, "
    "dec_embed_dim=24, dec_depth=4, dec_num_heads=2)"
)


def tiny_mast3r() -> Network:
    return build_network(MAST3R, seed=7)


def tiny_linear() -> Network:
    return build_network(LINEAR, seed=7)


def tiny_dpt() -> Network:
    return build_network(DPT, seed=7)


def write_pth(path: Path, net: Network, constructor: str = MAST3R_CONSTRUCTOR, **changes: Any) -> Path:
    """A published file: `args`, `model`, `epoch`; `changes` replace or add top-level keys."""
    args = argparse.Namespace(model=constructor, lr=1e-4, output_dir=None)
    torch.save({"args": args, "model": net.state_dict(), "epoch": 3, "best_so_far": 0.5} | changes, path)
    return path


def write_hub_folder(folder: Path, net: Network, **changes: Any) -> Path:
    """A hub folder: JSON with bare Infinity tokens, each shared tensor stored once."""
    folder.mkdir(parents=True, exist_ok=True)
    config = net.config.to_dict() | {"landscape_only": False, "patch_embed_cls": "PatchEmbedDust3R"} | changes
    (folder / "config.json").write_text(json.dumps(config, sort_keys=True))
    save_file(single_names(net), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def single_names(net: Network) -> dict[str, Tensor]:
    return {key: value for key, value in net.state_dict().items() if key not in projection_aliases()}


def assert_same_weights(net: Network, right: Network) -> None:
    got, expected = net.state_dict(), right.state_dict()
    assert list(got) == list(expected)
    for key, value in got.items():
        assert torch.equal(value, expected[key]), key
