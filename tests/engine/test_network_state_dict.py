"""The published models' state dicts: names, shapes, order and parameter counts."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import torch

from mast3r_engine.network import build_on_meta

TABLES = Path(__file__).parents[1] / "data" / "state_dicts"
VITL: dict[str, Any] = {
    "img_size": (512, 512), "pos_embed": "RoPE100", "enc_embed_dim": 1024, "enc_depth": 24, "enc_num_heads": 16,
    "dec_embed_dim": 768, "dec_depth": 12, "dec_num_heads": 12,
}  # fmt: skip
MAST3R = VITL | {"head_type": "catmlp+dpt", "output_mode": "pts3d+desc24", "two_confs": True, "desc_conf_mode": ("exp", 0, "inf")}


@pytest.mark.parametrize(
    ("table", "config", "parameters"),
    [
        ("mast3r_vitl_512_catmlpdpt", MAST3R, 688_638_856),
        ("dust3r_vitl_512_dpt", VITL | {"head_type": "dpt"}, 571_171_208),
        ("dust3r_vitl_224_linear", VITL | {"head_type": "linear", "img_size": (224, 224)}, 532_342_784),
    ],
)
def test_published_tables(table: str, config: dict[str, Any], parameters: int) -> None:
    with gzip.open(TABLES / f"state_dict_{table}.tsv.gz", "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    net = build_on_meta(config)
    got = {
        key: ["x".join(map(str, value.shape)), str(value.dtype).removeprefix("torch.")] for key, value in net.state_dict().items()
    }
    assert got == {key: [shape, dtype] for key, shape, dtype in rows}
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert not list(net.buffers())


@pytest.mark.parametrize("keep", ["layer_rn", "layer{}_rn"])
def test_a_shared_projection_may_have_either_name(keep: str) -> None:
    config = {"head_type": "dpt", "enc_embed_dim": 16, "enc_depth": 1, "enc_num_heads": 1, "dec_embed_dim": 16, "dec_depth": 4,
              "dec_num_heads": 1, "feature_dim": 8, "layer_dims": (4, 4, 4, 4)}  # fmt: skip
    net = build_on_meta(config)
    kept_names = [keep.format(level) + "." for level in range(1, 5)]
    weights = {
        key: torch.full(value.shape, float(index))
        for index, (key, value) in enumerate(net.state_dict().items())
        if "_rn." not in key or any(f"scratch.{name}" in key for name in kept_names)
    }
    assert len(weights) == len(net.state_dict()) - 8
    net.load_state_dict(weights, assign=True)
    scratch = net.get_submodule("downstream_head2.dpt.scratch")
    assert scratch.layer3_rn.weight is scratch.layer_rn[2].weight
    name = "layer_rn.2" if keep == "layer_rn" else "layer3_rn"
    assert torch.equal(scratch.layer3_rn.weight, weights[f"downstream_head2.dpt.scratch.{name}.weight"])
