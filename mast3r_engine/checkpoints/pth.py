"""Published `.pth` files: a pickled dictionary, read without executing anything in it."""

from __future__ import annotations

import argparse
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mast3r_engine.checkpoints.constructor import parse_constructor
from mast3r_engine.checkpoints.file_kind import FileKind, describe_pickle
from mast3r_engine.checkpoints.stored import StoredNetwork, refuse
from mast3r_engine.errors import CheckpointError

ALLOWED_GLOBALS = frozenset({"argparse.Namespace"})  # beyond torch's own list for weights


def read_pth(path: Path, kind: FileKind) -> StoredNetwork:
    """Read a published file of either serialisation (`zip` since torch 1.6, `pickle` before)."""
    if kind == "zip":
        _check_archive(path)
    content = _unpickle(path, kind)
    tensors = _find_state_dict(path, content)
    constructor = _find_constructor(path, content)
    try:
        config = parse_constructor(constructor)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return StoredNetwork("published .pth", path, config, tensors)


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise refuse(path, f"a truncated or damaged archive of {path.stat().st_size:,} bytes (download it again)") from error
    if any(name.endswith("/constants.pkl") for name in names):
        raise refuse(path, "a TorchScript program")
    if not any(name.endswith("/data.pkl") for name in names):
        raise refuse(path, "a zip archive that PyTorch did not write")
    _check_globals(path)


def _check_globals(path: Path) -> None:
    """Look at what the pickle would import before anything is read from it."""
    try:
        found = set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception as error:  # hostile bytes can fail in any way
        raise refuse(path, f"a PyTorch file that cannot be parsed ({_first_line(error)})") from error
    foreign = sorted(found - ALLOWED_GLOBALS)
    if foreign:
        raise refuse(path, _foreign_globals(foreign))


def _unpickle(path: Path, kind: FileKind) -> Mapping[str, Any]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=kind == "zip")
    except MemoryError:
        raise
    except Exception as error:  # hostile or cut-off bytes can fail in any way
        what = describe_pickle(path) if kind == "pickle" else "a PyTorch file that cannot be read safely"
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        detail = f"it wants to import {refused[1]}; nothing of it was executed" if refused else _first_line(error)
        raise refuse(path, f"{what} ({detail})") from error
    if not isinstance(content, Mapping):
        raise refuse(path, f"a PyTorch file that holds a {type(content).__name__} instead of a dictionary")
    return content


def _find_state_dict(path: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    if "dune_backbone_name" in content or "mast3r_model_str" in content:
        raise refuse(path, "a DUNE + MASt3R checkpoint, which holds no encoder and is not supported")
    model = content.get("model")
    if not isinstance(model, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            raise refuse(path, "a bare state dict without the constructor string that says what network it is for")
        keys = ", ".join(sorted(str(key) for key in content)[:8])
        raise refuse(path, f"a PyTorch file without a state dict under 'model' (it has: {keys or 'nothing'})")
    if "croco_kwargs" in content or any(str(key).startswith("prediction_head.") for key in model):
        raise refuse(path, "a CroCo pre-training checkpoint, which has no 3D heads")
    if any(str(key).startswith(("prewhiten.", "postwhiten.", "projector.")) for key in model):
        raise refuse(path, "a retrieval checkpoint, which belongs beside a MASt3R checkpoint")
    wrong = [key for key, value in model.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if wrong:
        raise refuse(path, f"a PyTorch file whose state dict holds a {type(model[wrong[0]]).__name__} at {wrong[0]!r}")
    return dict(model)


def _find_constructor(path: Path, content: Mapping[str, Any]) -> str:
    args = content.get("args")
    fields = vars(args) if isinstance(args, argparse.Namespace) else args if isinstance(args, Mapping) else {}
    constructor = fields.get("model")
    if not isinstance(constructor, str):
        raise refuse(path, "a PyTorch file without the constructor string args.model")
    return constructor


def _foreign_globals(names: list[str]) -> str:
    shown = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
    return f"a pickle that wants to import {shown}, which no published checkpoint does; nothing of it was executed"


def _first_line(error: BaseException) -> str:
    # torch's own text begins with advice to load without the safeguard, which must not be passed on.
    text = re.sub(r"(?s)^Weights only load failed.*?(WeightsUnpickler error: |$)", "", str(error)).strip()
    return text.splitlines()[0][:160] if text else type(error).__name__
