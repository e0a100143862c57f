"""Which network encoded a photograph: tokens mean nothing to another one."""

from __future__ import annotations

import hashlib
import weakref

import torch
from torch import nn

from mast3r_engine.errors import ForeignNetworkError
from mast3r_engine.predictions import PairNetwork

SAMPLED = 64  # values of each tensor; enough to tell two trainings apart, and milliseconds for the largest network
_known: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()


def network_fingerprint(network: PairNetwork) -> str:
    """Sixteen hex digits that change with the weights, not with device, precision or file.

    Another object than a torch module says its own, as an attribute `fingerprint`, or goes by its class.
    The weights of a module must not change between two calls.
    """
    own = getattr(network, "fingerprint", None)
    if isinstance(own, str):
        return own
    if not isinstance(network, nn.Module):
        return f"{type(network).__module__}.{type(network).__qualname__}"
    if network not in _known:
        _known[network] = _sample(network)
    return _known[network]


def check_fingerprint(thing: str, fingerprint: str, network: PairNetwork) -> None:
    """ForeignNetworkError when `thing` was encoded by another network."""
    present = network_fingerprint(network)
    if fingerprint != present:
        raise ForeignNetworkError(
            f"{thing} was encoded by the network {fingerprint}, and {present} is loaded; encode it anew or load that checkpoint"
        )


def _sample(network: nn.Module) -> str:
    digest, picked = hashlib.sha256(), []
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().reshape(-1)
        if len(flat):
            picked.append(flat[torch.linspace(0, len(flat) - 1, min(SAMPLED, len(flat))).long()].to(torch.bfloat16))
    if picked:  # in bfloat16: the same weights in half precision are the same network; one transfer from a GPU
        digest.update(torch.cat(picked).cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
