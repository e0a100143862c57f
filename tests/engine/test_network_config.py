"""Reading a network's constructor arguments."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mast3r_engine.errors import CheckpointError
from mast3r_engine.network import NetworkConfig, parse_config
from mast3r_engine.network.config import Activation
from tests.engine.tiny_networks import MAST3R


def test_absent_arguments_take_the_published_defaults_not_the_published_sizes() -> None:
    config = parse_config({})
    sizes = (
        config.enc_embed_dim,
        config.enc_depth,
        config.enc_num_heads,
        config.dec_embed_dim,
        config.dec_depth,
        config.dec_num_heads,
    )
    assert sizes == (768, 12, 12, 512, 8, 16)
    assert (config.head_type, config.output_mode, config.patch_size, config.metric) == ("linear", "pts3d", 16, False)


def test_lists_and_textual_infinities_are_read() -> None:
    config = parse_config(
        MAST3R | {"img_size": [512, 512], "depth_mode": ["square", "-Infinity", "Infinity"], "conf_mode": ["exp", 1, math.inf]}
    )
    assert config.img_size == (512, 512)
    assert config.depth_mode == Activation("square", -math.inf, math.inf)
    assert config.conf_mode == Activation("exp", 1.0, math.inf)
    assert config.desc_dim == 8
    assert config.metric


def test_training_only_arguments_are_accepted_and_dropped() -> None:
    assert parse_config({"landscape_only": True, "patch_embed_cls": "ManyAR_PatchEmbed", "freeze": "none"}) == parse_config({})


def test_round_trip() -> None:
    config = parse_config(MAST3R)
    assert isinstance(config, NetworkConfig)
    assert parse_config(config.to_dict()) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 3}, "unknown argument 'depth'"),
        ({"enc_depth": 0}, "enc_depth is 0; it must be a positive integer"),
        ({"enc_depth": True}, "enc_depth is True"),
        ({"enc_depth": "24"}, "enc_depth is '24'"),
        ({"enc_embed_dim": 100}, r"enc_embed_dim is 100.*multiple of 4 \* enc_num_heads = 48"),
        ({"head_type": "catconv"}, "head_type is 'catconv'; it must be linear or dpt or catmlp"),
        ({"head_type": "dpt", "output_mode": "pts3d+desc24"}, "output_mode is .*; it must be pts3d with"),
        ({"head_type": "catmlp+dpt"}, r"output_mode is 'pts3d'; it must be pts3d\+desc<width>"),
        ({"head_type": "dpt", "dec_depth": 2}, "dec_depth is 2; it must be 3 or more"),
        ({"pos_embed": "cosine"}, "pos_embed is 'cosine'; it must be RoPE<base>"),
        ({"img_size": (500, 500)}, "img_size is .*multiples of patch_size = 16"),
        ({"img_size": (512, 512, 512)}, "img_size is .*2 positive integers"),
        ({"depth_mode": ("exp", 0, "inf")}, "depth_mode is .*without bounds"),
        ({"depth_mode": "exp"}, "depth_mode is 'exp'"),
        ({"conf_mode": None}, "conf_mode is None"),
        ({"conf_mode": ("square", 1, "inf")}, r"conf_mode is .*exp \| sigmoid"),
        ({"conf_mode": ("sigmoid", 0, "inf")}, "conf_mode is .*finite"),
        ({"conf_mode": ("exp", "nan", "inf")}, "conf_mode is"),
        ({"mlp_ratio": -1}, "mlp_ratio is -1"),
        ({"metric": "yes"}, "metric is 'yes'; it must be true or false"),
    ],
)
def test_impossible_arguments_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        parse_config(values)
