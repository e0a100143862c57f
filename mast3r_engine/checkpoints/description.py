"""What a checkpoint is, told without building its network."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mast3r_engine.checkpoints.loading import read_checkpoint
from mast3r_engine.checkpoints.stored import Kind, StoredNetwork
from mast3r_engine.network import projection_aliases

# Unique parameters of the published models (linear, dpt, catmlp+dpt).
PUBLISHED_PARAMETERS = (532_342_784, 571_171_208, 688_638_856)


@dataclass(frozen=True)
class CheckpointDescription:
    """The answer of `m3r checkpoint info`."""

    path: Path  # of the weights
    kind: Kind
    class_name: str  # the published class with this architecture
    config: dict[str, Any]  # the constructor's arguments
    parameters: int  # each shared tensor counted once
    dtype: str  # as stored, the most frequent first
    size_bytes: int
    sha256: str
    trained: bool
    licence_hint: str


def describe_checkpoint(source: str | Path) -> CheckpointDescription:
    """Describe a checkpoint; CheckpointError as `load_network`, but for weights that do not fit their config."""
    stored = read_checkpoint(source)
    names = [name for name in stored.tensors if projection_aliases().get(name) not in stored.tensors]
    dtypes = Counter(str(stored.tensors[name].dtype).removeprefix("torch.") for name in names)
    parameters = sum(stored.tensors[name].numel() for name in names)
    with stored.weights_path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return CheckpointDescription(
        path=stored.weights_path,
        kind=stored.kind,
        class_name=stored.class_name,
        config=stored.config.to_dict(),
        parameters=parameters,
        dtype=", ".join(name for name, _ in dtypes.most_common()),
        size_bytes=stored.weights_path.stat().st_size,
        sha256=digest,
        trained=stored.trained,
        licence_hint=_licence_hint(stored, parameters),
    )


def _licence_hint(stored: StoredNetwork, parameters: int) -> str:
    if stored.licence:
        return stored.licence
    if parameters in PUBLISHED_PARAMETERS:
        return "size of a model published by Naver: those are CC BY-NC-SA 4.0, for non-commercial use only"
    return "not stated in the checkpoint: ask whoever made it"
