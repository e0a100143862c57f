"""AdamW, its learning-rate curve, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def build_optimiser(net: nn.Module, lr: float, betas: tuple[float, float], weight_decay: float) -> torch.optim.AdamW:
    """AdamW over the trainable weights; biases and other 1-D weights are not decayed."""
    weights = [p for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = all(p.is_cuda for p in weights)
    return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=fused)


def learning_rate(progress: float, lr: float, final_lr: float, warmup: float) -> float:
    """Linear from 0 over the warm-up share, then half a cosine down to the final rate; progress in [0, 1]."""
    if progress < warmup:
        return lr * progress / warmup
    swing = (progress - warmup) / max(1 - warmup, 1e-9)
    return final_lr + (lr - final_lr) * 0.5 * (1 + math.cos(math.pi * min(swing, 1.0)))


@torch.no_grad()
def update_average(
    average: dict[str, Tensor],
    net: nn.Module,
    decay: float,
    step: int,  # from 0; early averages forget faster
) -> None:
    """Move every averaged weight towards the network's, in place."""
    rate = 1 - min(decay, (1 + step) / (10 + step))
    state = net.state_dict()
    floating = [key for key in average if average[key].is_floating_point()]
    torch._foreach_lerp_([average[k] for k in floating], [state[k] for k in floating], rate)


def freeze(net: nn.Module, prefixes: Iterable[str]) -> list[str]:
    """Make weights trainable but for those whose names start with a prefix; returns prefixes that match none."""
    prefixes = list(prefixes)
    unused = set(prefixes)
    for name, weight in net.named_parameters(remove_duplicate=False):
        hit = {prefix for prefix in prefixes if name.startswith(prefix)}
        weight.requires_grad_(not hit)
        unused -= hit
    return sorted(unused)
