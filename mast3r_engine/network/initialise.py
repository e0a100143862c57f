"""Weights for a network that is yet to be trained."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from mast3r_engine.network.model import Network, projection_aliases

LAST_LAYERS = ("dpt.head.4.weight", "downstream_head1.proj.weight", "downstream_head2.proj.weight")


@torch.no_grad()
def initialise(net: Network, seed: int = 0) -> None:
    """Fill all weights, in place: each from a generator seeded by its key name and `seed`, whatever the order.

    Matrices and convolutions are normal with variance 1 / fan-in, so that activations keep their size and descriptors and
    points vary with the input from the first step; the layers that write into the stream of tokens are divided by the square
    root of the number of writes. Biases are 0, norms 1; the points' raw z begins at 1 (1.7 m in front of the camera).
    """
    aliases = projection_aliases()
    for key, weight in net.state_dict().items():
        if key not in aliases:
            _fill(net, key, weight, seed)


def _fill(net: Network, key: str, weight: Tensor, seed: int) -> None:
    if weight.ndim == 1:
        weight.fill_(1.0 if key.endswith("weight") else 0.0)
        if key.endswith(("dpt.head.4.bias", "downstream_head1.proj.bias", "downstream_head2.proj.bias")):
            weight.view(4, -1)[2] = 1.0  # channels x, y, z, confidence, each one value or a patch of them
        return
    if key == "mask_token":
        weight.zero_()
        return
    # A transposed convolution with kernel = stride sums over its input channels alone.
    transposed = key.endswith(("act_postprocess.0.1.weight", "act_postprocess.1.1.weight"))
    fan_in = weight.shape[0] if transposed else weight[0].numel()
    generator = torch.Generator(device="cpu").manual_seed((zlib.crc32(key.encode()) + seed) % 2**32)
    values = torch.randn(weight.shape, generator=generator)
    weight.copy_(values * (_gain(net, key) / fan_in**0.5))


def _gain(net: Network, key: str) -> float:
    if key.endswith(LAST_LAYERS):
        return 0.1
    if key.endswith(("attn.proj.weight", "mlp.fc2.weight")):
        writes = 2 * net.config.enc_depth if key.startswith("enc") else 3 * net.config.dec_depth
        return float(writes**-0.5)
    return 1.0
