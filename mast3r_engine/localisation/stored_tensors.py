"""One file of tensors with a JSON header: what references and maps are kept in.

A safetensors file whose metadata names the kind and version, and a checksum over header and tensors: a flipped bit is an error,
not a wrong pose. Nothing in it is executed when it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mast3r_engine.errors import StoredDataError


def pack(
    kind: str,
    version: int,
    header: Mapping[str, Any],  # JSON values
    tensors: Mapping[str, Tensor],
) -> bytes:
    """Write one file."""
    text = json.dumps(header, sort_keys=True, allow_nan=False)
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"kind": kind, "version": str(version), "header": text, "sha256": _checksum(kind, version, text, kept)}
    return save(kept, metadata)


def unpack(
    data: bytes,
    kind: str,
    version: int,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read one file; StoredDataError when it is cut off, damaged, of another kind or of another version."""
    metadata = _metadata(data, kind)
    if metadata["version"] != str(version):
        raise StoredDataError(f"{kind} of version {metadata['version']}; this software reads version {version}: make it anew")
    try:
        tensors = load(data)
        header = json.loads(metadata["header"])
    except (SafetensorError, ValueError, KeyError) as error:
        raise StoredDataError(f"damaged {kind}: {error}; make it anew") from None
    if _checksum(kind, version, metadata["header"], tensors) != metadata["sha256"]:
        raise StoredDataError(f"damaged {kind}: its checksum does not match; make it anew")
    return header, tensors


def _metadata(data: bytes, kind: str) -> dict[str, str]:
    try:
        length = int.from_bytes(data[:8], "little")
        if not 2 <= length <= len(data) - 8:
            raise ValueError(f"{len(data)} bytes hold no header of {length}")
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        if not all(isinstance(metadata[key], str) for key in ("kind", "version", "header", "sha256")):
            raise TypeError("metadata is no text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoredDataError(f"these {len(data)} bytes are no {kind} ({error}); make it anew") from None
    if metadata["kind"] != kind:
        raise StoredDataError(f"these bytes are a {metadata['kind'][:40]!r}, not a {kind}")
    found: dict[str, str] = metadata
    return found


def _checksum(kind: str, version: int, header: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(f"{kind}\n{version}\n{header}\n".encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
