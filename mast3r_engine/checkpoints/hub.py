"""Checkpoints on the Hugging Face hub, by repository id."""

from __future__ import annotations

import re
from pathlib import Path

from mast3r_engine.checkpoints.folder import CONFIG_NAME, HUB_WEIGHTS_NAME
from mast3r_engine.checkpoints.stored import refuse

REPOSITORY_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FILE_SUFFIXES = (".pth", ".pt", ".pkl", ".safetensors", ".bin", ".ckpt")


def is_hub_id(source: str) -> bool:
    """Whether a text that is no existing path can be a hub id `owner/name`."""
    return REPOSITORY_ID.fullmatch(source) is not None and not source.lower().endswith(FILE_SUFFIXES)


def download_folder(repository: str) -> Path:
    """Fetch config.json and model.safetensors, or take them from the hub's local cache; CheckpointError if neither works."""
    import huggingface_hub

    try:
        config = Path(huggingface_hub.hf_hub_download(repository, CONFIG_NAME))
        huggingface_hub.hf_hub_download(repository, HUB_WEIGHTS_NAME)
    except Exception as error:  # the client's errors, the transport's, the disk's: all mean that it is not here
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = f"no such file or folder, and the hub did not give it ({type(error).__name__}: {lines[0][:160]})"
        raise refuse(repository, reason) from error
    return config.parent
