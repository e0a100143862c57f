"""What matching needs of one view in one decoder pass: descriptors and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mast3r_engine.errors import NetworkOutputError
from mast3r_engine.predictions import ViewPrediction


@dataclass(frozen=True)
class DescribedView:
    """One view of one decoder pass."""

    desc: Tensor  # (H, W, D) float32
    conf: Tensor  # (H, W) float32, matching confidence


def described(
    prediction: ViewPrediction,
    item: int,
    name: str,
) -> DescribedView:
    """Take one item of a batch; networks without a matching confidence lend their 3D confidence.

    NetworkOutputError, with `name`, when there are no descriptors.
    """
    if prediction.desc is None:
        raise NetworkOutputError(f"{name}: the network gives no descriptors; matching needs a MASt3R network (mode sparse)")
    conf = prediction.conf if prediction.desc_conf is None else prediction.desc_conf
    return DescribedView(prediction.desc[item].float(), conf[item].float())


def as_map(
    desc: NDArray[np.floating] | Tensor,  # (H, W, D)
    name: str,
) -> Tensor:  # (H, W, D) float32
    """A descriptor map as a tensor; NetworkOutputError, with `name`, for another shape."""
    if isinstance(desc, np.ndarray):
        desc = torch.from_numpy(np.require(desc, np.float32, ["C", "W"]))  # torch takes no negative strides
    tensor = desc.detach().float()
    if tensor.ndim != 3 or not tensor.shape[2]:
        raise NetworkOutputError(f"{name}: descriptors have shape {tuple(tensor.shape)}; it must be (H, W, D)")
    return tensor
