"""Both views of a batch through the network, each image encoded once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mast3r_engine.network import Network
from mast3r_engine.predictions import Encoded, Outputs, ViewPrediction


def predict(
    net: Network,
    images: Tensor,  # (B, 2, 3, H, W)
    symmetrise: bool,
    outputs: Outputs,
) -> tuple[ViewPrediction, ViewPrediction]:
    """Both views of B pairs, or of 2B when symmetrised: first all pairs in order, then all reversed; each image encoded once."""
    encoded = net.encode(images.transpose(0, 1).flatten(0, 1))
    first, second = encoded.tokens.chunk(2)
    if symmetrise:
        first, second = torch.cat((first, second)), torch.cat((second, first))
    size = encoded.height, encoded.width
    return net.decode(Encoded(first, *size), Encoded(second, *size), outputs)


Predict = Callable[[Network, Tensor, bool, Outputs], tuple[ViewPrediction, ViewPrediction]]
