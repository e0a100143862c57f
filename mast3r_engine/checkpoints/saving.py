"""Writing the engine's own layout: config.json and one safetensors file, committed in one atomic step."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mast3r_engine.checkpoints.folder import CONFIG_NAME, FORMAT, FORMAT_VERSION
from mast3r_engine.checkpoints.state_dict import is_finite
from mast3r_engine.errors import CheckpointError, OptionsError
from mast3r_engine.network import Network, projection_aliases

STORED_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def save_network(net: Network, folder: str | Path, dtype: str = "float32", licence: str | None = None) -> Path:
    """Write a network into `folder`, made if need be; returns the weights' path.

    The weights go under a name of their own content, then config.json, which names them, is replaced in one step: a process
    killed at any moment leaves the old checkpoint or the new one. CheckpointError if a weight is not finite or does not fit
    `dtype`; OSError if the disk does not take it.
    """
    if dtype not in STORED_DTYPES:
        raise OptionsError(f"dtype is {dtype!r}; it must be {' or '.join(STORED_DTYPES)}")
    place = Path(folder)
    tensors = _collect(net, STORED_DTYPES[dtype])
    place.mkdir(parents=True, exist_ok=True)
    before = _named_weights(place)
    weights = _write_weights(place, tensors)
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "weights": weights.name,
        "dtype": dtype,
        "trained": net.trained,
        "licence": licence,
        "network": _plain(net.config.to_dict()),
    }
    _write_config(place, content)
    if before is not None and before != weights:
        before.unlink(missing_ok=True)
    return weights


def _collect(net: Network, dtype: torch.dtype) -> dict[str, Tensor]:
    tensors = {}
    for name, tensor in net.state_dict().items():
        if name in projection_aliases():
            continue
        stored = tensor.detach().to("cpu", dtype).contiguous()
        if not is_finite(stored):
            why = "NaN or infinite values" if not is_finite(tensor) else f"values too large for {dtype}".replace("torch.", "")
            raise CheckpointError(f"{name} holds {why}; the network was not saved")
        tensors[name] = stored
    return tensors


def _named_weights(folder: Path) -> Path | None:
    """The weights that a previous checkpoint of this layout in `folder` names."""
    try:
        content = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    name = content.get("weights") if isinstance(content, dict) and content.get("format") == FORMAT else None
    return folder / name if isinstance(name, str) and Path(name).name == name else None


def _write_weights(folder: Path, tensors: dict[str, Tensor]) -> Path:
    temporary = _temporary(folder)
    try:
        save_file(tensors, temporary, metadata={"format": "pt"})
        with temporary.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        weights = folder / f"model-{digest[:12]}.safetensors"
        temporary.chmod(0o644)
        temporary.replace(weights)
    finally:
        temporary.unlink(missing_ok=True)
    return weights


def _write_config(folder: Path, content: dict[str, Any]) -> None:
    temporary = _temporary(folder)
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=2, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(folder / CONFIG_NAME)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(folder: Path) -> Path:
    handle, name = tempfile.mkstemp(prefix=".writing-", dir=folder)
    os.close(handle)
    return Path(name)


def _plain(value: Any) -> Any:
    """The same values in strict JSON's types: infinities as text."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value
