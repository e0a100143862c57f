"""From a file, a folder or a hub id to a network that is ready to run."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mast3r_engine.checkpoints.file_kind import identify_file
from mast3r_engine.checkpoints.folder import CONFIG_NAME, read_folder
from mast3r_engine.checkpoints.hub import download_folder, is_hub_id
from mast3r_engine.checkpoints.packaged import find_packaged
from mast3r_engine.checkpoints.pth import read_pth
from mast3r_engine.checkpoints.state_dict import check_state_dict
from mast3r_engine.checkpoints.stored import StoredNetwork, refuse
from mast3r_engine.errors import OptionsError
from mast3r_engine.network import PRECISIONS, Network, build_on_meta, set_precision


def load_network(source: str | Path, device: str | torch.device = "cpu", dtype: str = "float32") -> Network:
    """Load a checkpoint: a published .pth file, a folder (hub layout or the engine's own), a hub id `owner/name`, or the name
    of a packaged one (`m3r-preview`).

    `dtype` is what the network computes in: float32 (exact) or bfloat16 (see `set_precision`). Nothing in the file is
    executed. CheckpointError says what a wrong source is and what was expected; OptionsError names an impossible device or
    dtype.
    """
    if dtype not in PRECISIONS:
        raise OptionsError(f"dtype is {dtype!r}; it must be {' or '.join(PRECISIONS)}")
    place = _check_device(device)
    net = assemble(read_checkpoint(source))
    set_precision(net, dtype)
    return net.to(place)


def read_checkpoint(source: str | Path) -> StoredNetwork:
    """Read whatever `source` names, without building a network."""
    path = Path(source)
    if path.is_dir():
        return read_folder(path)
    if path.is_file():
        return _read_file(path)
    packaged = find_packaged(str(source))
    if packaged is not None:
        return read_folder(packaged)
    if isinstance(source, str) and is_hub_id(source):
        return read_folder(download_folder(source))
    raise refuse(source, "no such file or folder")


def assemble(stored: StoredNetwork) -> Network:
    """Build the network on the meta device and give it copies of the stored tensors, float32 on the CPU."""
    net = build_on_meta(stored.config)
    tensors = check_state_dict(stored.weights_path, stored.tensors, net.state_dict())
    # Copies: a mapped file that is overwritten later must not reach into a running network. Tensors that a file shares
    # between names (a derived second decoder) become separate weights here.
    owned: dict[str, Tensor] = {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}
    net.load_state_dict(owned, assign=True)
    net.trained = stored.trained
    return net


def _read_file(path: Path) -> StoredNetwork:
    kind = identify_file(path)
    if kind != "safetensors":
        return read_pth(path, kind)
    if not (path.parent / CONFIG_NAME).is_file():
        raise refuse(path, f"safetensors without a {CONFIG_NAME} beside it")
    stored = read_folder(path.parent)
    if stored.weights_path.resolve() != path.resolve():
        raise refuse(path, f"not the weights that the {CONFIG_NAME} beside it names ({stored.weights_path.name})")
    return stored


def _check_device(device: str | torch.device) -> torch.device:
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:  # torch raises AssertionError when it was built without CUDA
        raise OptionsError(f"device is {str(device)!r}, which is not available here ({str(error).splitlines()[0]})") from error
    return place
