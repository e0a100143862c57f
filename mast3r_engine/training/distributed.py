"""Several processes, one model: started by torchrun, plain averaging of gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Process:
    """Which process this is among how many."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether it is the one that writes files and speaks."""
        return self.rank == 0


@contextmanager
def join_processes(device: str, world: int, local_rank: int) -> Iterator[Process]:
    """Join the group of `world` processes that torchrun started; alone with one."""
    if world == 1:
        yield Process()
        return
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Process(distributed.get_rank(), distributed.get_world_size(), local_rank)
    finally:
        distributed.destroy_process_group()


@torch.no_grad()
def average_gradients(net: nn.Module, process: Process) -> None:
    """Replace each gradient by its mean over all processes, in one message."""
    if process.world == 1:
        return
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    flat /= process.world
    for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


@torch.no_grad()
def share_weights(net: nn.Module, process: Process) -> None:
    """Give every process the first one's weights."""
    if process.world > 1:
        for tensor in net.state_dict().values():
            distributed.broadcast(tensor, 0)


def average_value(value: Tensor, process: Process) -> float:
    """The mean of a scalar over all processes."""
    if process.world > 1:
        value = value.clone()
        distributed.all_reduce(value)
        value /= process.world
    return float(value)


def share_value(value: float, process: Process) -> float:
    """The first process' number, known to all."""
    if process.world == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64, device="cuda" if distributed.get_backend() == "nccl" else "cpu")
    distributed.broadcast(shared, 0)
    return float(shared)
