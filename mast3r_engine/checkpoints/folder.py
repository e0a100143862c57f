"""Folders with config.json and safetensors: the hub's layout, and the engine's own, which adds a `format` field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from mast3r_engine.checkpoints.file_kind import identify_file
from mast3r_engine.checkpoints.stored import StoredNetwork, refuse
from mast3r_engine.errors import CheckpointError
from mast3r_engine.network import NetworkConfig, parse_config

FORMAT = "mast3r-engine"
FORMAT_VERSION = 1
CONFIG_NAME = "config.json"
HUB_WEIGHTS_NAME = "model.safetensors"
MAX_CONFIG_BYTES = 1_000_000

# What hub tools may add to a config without saying anything about the architecture.
DESCRIPTIVE = frozenset({"architectures", "library_name", "license", "model_type", "tags", "torch_dtype", "transformers_version"})


def read_folder(folder: Path) -> StoredNetwork:
    """Read a folder of either layout."""
    content = read_config(folder / CONFIG_NAME)
    if "format" in content:
        return _read_engine_folder(folder, content)
    values = {name: value for name, value in content.items() if name not in DESCRIPTIVE and not name.startswith("_")}
    config = _parse(folder, values)
    weights = folder / HUB_WEIGHTS_NAME
    return StoredNetwork("hub folder", weights, config, read_safetensors(weights), licence=_text(content.get("license")))


def _read_engine_folder(folder: Path, content: Mapping[str, Any]) -> StoredNetwork:
    path = folder / CONFIG_NAME
    if content["format"] != FORMAT or content.get("format_version") != FORMAT_VERSION:
        found = f"format {content['format']!r} version {content.get('format_version')!r}"
        raise refuse(path, f"a folder of {found}; this engine reads {FORMAT!r} version {FORMAT_VERSION}")
    name, network = content.get("weights"), content.get("network")
    if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
        raise refuse(path, f"its weights are {name!r}; that must be the name of a .safetensors file beside it")
    if not isinstance(network, Mapping):
        raise refuse(path, "its network is missing; that must be an object with the constructor's arguments")
    tensors = read_safetensors(folder / name)
    trained = content.get("trained") is not False
    return StoredNetwork("engine folder", folder / name, _parse(folder, network), tensors, trained, _text(content.get("licence")))


def read_config(path: Path) -> dict[str, Any]:
    """Read a config.json; the bare tokens Infinity and -Infinity, which hub tools write, are accepted."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise refuse(path, f"a config.json of {path.stat().st_size:,} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise refuse(path.parent, f"a folder without {CONFIG_NAME}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise refuse(path, f"a config.json that cannot be parsed ({error})") from error
    if not isinstance(content, dict):
        raise refuse(path, f"a config.json that holds a {type(content).__name__} instead of an object")
    return content


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, mapped into memory."""
    if not path.is_file():
        raise refuse(path.parent, f"a folder without {path.name}")
    if identify_file(path) != "safetensors":
        raise refuse(path, "a file named .safetensors that is none")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - the file is no mapping
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise refuse(path, f"a truncated or damaged safetensors file ({error})") from error


def _parse(folder: Path, values: Mapping[str, Any]) -> NetworkConfig:
    try:
        return parse_config(values)
    except CheckpointError as error:
        raise CheckpointError(f"{folder / CONFIG_NAME}: {error}") from error


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
