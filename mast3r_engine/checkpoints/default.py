"""The network that is used when no checkpoint is named."""

from __future__ import annotations

from typing import Any

import torch

from mast3r_engine.checkpoints.loading import load_network
from mast3r_engine.checkpoints.packaged import find_packaged
from mast3r_engine.network import Network, build_network, set_precision

# Small enough for two cores, and every part of the large networks is in it.
UNTRAINED_CONFIG: dict[str, Any] = {
    "img_size": (256, 256),
    "head_type": "catmlp+dpt",
    "output_mode": "pts3d+desc24",
    "two_confs": True,
    "desc_conf_mode": ("exp", 0.0, "inf"),
    "enc_embed_dim": 128,
    "enc_depth": 4,
    "enc_num_heads": 4,
    "dec_embed_dim": 128,
    "dec_depth": 4,
    "dec_num_heads": 4,
    "feature_dim": 32,
    "layer_dims": (24, 32, 48, 64),
    "local_feature_mlp_ratio": 2.0,
}


def load_default_network(device: str | torch.device = "cpu", dtype: str = "float32") -> Network:
    """The checkpoint that lies in the package; without one, a small untrained network whose geometry is meaningless.

    `net.trained` tells them apart; callers that show results must say so.
    """
    packaged = find_packaged()
    if packaged is not None:
        return load_network(packaged, device, dtype)
    net = build_network(UNTRAINED_CONFIG)
    set_precision(net, dtype)
    return net.to(device)
