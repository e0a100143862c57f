"""Building a network from its constructor's arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mast3r_engine.network.config import NetworkConfig, parse_config
from mast3r_engine.network.initialise import initialise
from mast3r_engine.network.model import Network


def build_network(config: Mapping[str, Any] | NetworkConfig, seed: int = 0) -> Network:
    """An untrained float32 network on the CPU, in evaluation mode; `config` has the published constructor's argument names.

    CheckpointError names an argument that is unknown or impossible. The weights depend on `seed` and the key names alone.
    """
    net = build_on_meta(config).to_empty(device="cpu")
    initialise(net, seed)
    return net


def build_on_meta(config: Mapping[str, Any] | NetworkConfig) -> Network:
    """The same network without memory for its weights: assign a state dict to it before use."""
    with torch.device("meta"):
        net = Network(config if isinstance(config, NetworkConfig) else parse_config(config))
    return net.eval()
