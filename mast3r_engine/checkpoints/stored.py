"""What every checkpoint format comes down to, and the one error for those that do not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from mast3r_engine.errors import CheckpointError
from mast3r_engine.network import NetworkConfig

MAST3R_CLASS = "AsymmetricMASt3R"
DUST3R_CLASS = "AsymmetricCroCo3DStereo"

EXPECTED = (
    "expected a published MASt3R or DUSt3R .pth file, a folder with config.json and model.safetensors as on the Hugging Face "
    "hub, a folder written by save_network, or a hub id such as naver/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric"
)

Kind = Literal["published .pth", "hub folder", "engine folder"]


@dataclass(frozen=True)
class StoredNetwork:
    """A checkpoint as it was read: architecture and tensors, nothing checked against each other yet."""

    kind: Kind
    weights_path: Path
    config: NetworkConfig
    tensors: dict[str, Tensor]  # CPU, possibly mapped from the file: copy before use
    trained: bool = True
    licence: str | None = None  # as the checkpoint itself states it

    @property
    def class_name(self) -> str:
        """The published class of that architecture."""
        return MAST3R_CLASS if self.config.desc_dim else DUST3R_CLASS


def refuse(path: Path | str, what: str) -> CheckpointError:
    """The error for a source that is no usable checkpoint: `what` it is, and what was expected."""
    return CheckpointError(f"{path}: {what}; {EXPECTED}")
