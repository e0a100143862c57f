"""A stored state dict against the network it is for: names, shapes, values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mast3r_engine.errors import CheckpointError
from mast3r_engine.network import projection_aliases

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def check_state_dict(
    path: Path,
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],  # the network's own, possibly on the meta device
) -> dict[str, Tensor]:
    """The stored tensors, each under its one name, complete and right for the network; CheckpointError otherwise.

    Two rules of the published format: a shared DPT projection may stand under either of its names or both, and a file
    without any `dec_blocks2` key uses its `dec_blocks` for both decoders.
    """
    single = _merge_aliases(path, tensors)
    wanted = {name: tensor for name, tensor in expected.items() if name not in projection_aliases()}
    _derive_second_decoder(single, wanted)
    _check_names(path, single, wanted)
    for name, tensor in single.items():
        _check_tensor(path, name, tensor, wanted[name])
    return single


def _merge_aliases(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    single = dict(tensors)
    for alias, name in projection_aliases().items():
        second = single.pop(alias, None)
        if second is None:
            continue
        first = single.setdefault(name, second)
        if first.shape != second.shape or not (first.data_ptr() == second.data_ptr() or torch.equal(first, second)):
            raise CheckpointError(f"{path}: {name} and {alias} differ; they are two names of one tensor")
    return single


def _derive_second_decoder(tensors: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    if not any(name.startswith("dec_blocks2") for name in tensors):
        for name in wanted:
            first = tensors.get(name.replace("dec_blocks2", "dec_blocks", 1))
            if name.startswith("dec_blocks2") and first is not None:
                tensors[name] = first


def _check_names(path: Path, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    missing = [name for name in wanted if name not in tensors]
    unexpected = [name for name in tensors if name not in wanted]
    problems = [
        f"{len(names)} of {len(wanted)} tensors {what} ({_shorten(names)})"
        for names, what in ((missing, "are missing"), (unexpected, "too many"))
        if names
    ]
    if problems:
        raise CheckpointError(f"{path}: weights do not fit the network its config describes: {' and '.join(problems)}")


def _check_tensor(path: Path, name: str, tensor: Tensor, wanted: Tensor) -> None:
    if tensor.layout != torch.strided or tensor.dtype not in DTYPES:
        found = f"{tensor.dtype}".removeprefix("torch.")
        raise CheckpointError(f"{path}: {name} is {found} ({tensor.layout}); it must be dense floating-point numbers")
    if tensor.shape != wanted.shape:
        raise CheckpointError(f"{path}: {name} has shape {tuple(tensor.shape)}; its config asks for {tuple(wanted.shape)}")
    if not is_finite(tensor):
        raise CheckpointError(f"{path}: {name} holds NaN or infinite values; the weights are damaged or training diverged")


def is_finite(tensor: Tensor) -> bool:
    """Whether all values are finite, in one pass without a temporary of the tensor's size."""
    low, high = torch.aminmax(tensor)
    return math.isfinite(low.item()) and math.isfinite(high.item())


def _shorten(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
