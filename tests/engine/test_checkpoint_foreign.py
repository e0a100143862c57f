"""Files that are no checkpoint of ours: one error that says what each is, and nothing of it runs."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mast3r_engine.checkpoints import describe_checkpoint, load_network
from mast3r_engine.errors import CheckpointError
from tests.engine.checkpoint_files import MAST3R_CONSTRUCTOR, tiny_mast3r, write_pth


class Payload:
    """Runs a shell command when an ordinary unpickler meets it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


class PickledNamespace(argparse.Namespace):
    """An args object of a class that is not argparse's own."""


def refused(path: Path, message: str) -> None:
    for read in (load_network, describe_checkpoint):
        with pytest.raises(CheckpointError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file; expected a published MASt3R or DUSt3R"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2754910614\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>", "an HTML page"),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "an XML or JSON text"),
        (b'{"error": "Repository not found"}', "an XML or JSON text"),
        (b"\x1f\x8b\x08\x00" + bytes(40), "a gzip archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "begins with the bytes 89 50 4e 47"),
        (np.random.default_rng(0).bytes(4096), "not a checkpoint"),
        (b"PK\x03\x04" + bytes(400), "truncated or damaged archive of 404 bytes"),
        (b"\x80\x02", "a Python pickle that is no published checkpoint"),
    ],
)  # fmt: skip
def test_files_of_other_kinds(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    refused(path, message)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_truncated_files(kept: float, tmp_path: Path) -> None:
    path = write_pth(tmp_path / "model.pth", tiny_mast3r())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    refused(path, "truncated or damaged archive")
    torch.save({"model": tiny_mast3r().state_dict()}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    refused(path, "a Python pickle that is no published checkpoint")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["args", "model", "epoch"])
def test_malicious_pickles_are_named_and_never_run(zipped: bool, place: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    payload: dict[str, Any] = {
        "args": {"args": argparse.Namespace(model=Payload(marker))},
        "model": {"model": tiny_mast3r().state_dict() | {"enc_norm.bias": Payload(marker)}},
        "epoch": {"epoch": Payload(marker)},
    }[place]
    content = {"args": argparse.Namespace(model=MAST3R_CONSTRUCTOR), "model": tiny_mast3r().state_dict()} | payload
    path = tmp_path / "model.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    refused(path, r"wants to import (posix|nt)\.system")
    assert not marker.exists()


def test_the_payload_would_have_run(tmp_path: Path) -> None:
    """The control: an ordinary unpickler does run it."""
    marker = tmp_path / "executed"
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_bare_malicious_pickle(protocol: int, tmp_path: Path) -> None:
    marker, path = tmp_path / "executed", tmp_path / "model.pth"
    path.write_bytes(pickle.dumps(Payload(marker), protocol=protocol))
    refused(path, "a Python pickle that is no published checkpoint")
    assert not marker.exists()


def test_a_malicious_constructor_string(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    constructor = f"AsymmetricMASt3R(img_size=__import__('os').system('touch {marker}'))"
    refused(write_pth(tmp_path / "model.pth", tiny_mast3r(), constructor), "constructor string holds a Call")
    assert not marker.exists()


def test_a_namespace_of_another_class_is_refused(tmp_path: Path) -> None:
    path = write_pth(tmp_path / "model.pth", tiny_mast3r(), args=PickledNamespace(model=MAST3R_CONSTRUCTOR))
    refused(path, r"wants to import .*PickledNamespace")


def write(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"mask_token": torch.zeros(1)}, "croco_kwargs": {"enc_depth": 24}}, "a CroCo pre-training checkpoint"),
        ({"model": {"prediction_head.dpt.head.0.weight": torch.zeros(1)}}, "a CroCo pre-training checkpoint"),
        (
            {"dune_backbone_name": "dune_vitbase_14", "mast3r_model_str": "AsymmetricMASt3R()", "model": {}},
            r"a DUNE \+ MASt3R checkpoint",
        ),
        ({"args": argparse.Namespace(nfeat=300), "model": {"prewhiten.m": torch.zeros(1, 4)}}, "a retrieval checkpoint"),
        ({"state_dict": {}, "optimizer": {}}, r"without a state dict under 'model' \(it has: optimizer, state_dict\)"),
        ({}, r"it has: nothing"),
        ({"enc_norm.bias": torch.zeros(3)}, "a bare state dict without the constructor string"),
        ({"model": {"enc_norm.bias": torch.zeros(3)}}, r"without the constructor string args\.model"),
        ({"model": {}, "args": argparse.Namespace(lr=1)}, r"without the constructor string args\.model"),
        ({"model": {3: torch.zeros(3)}, "args": argparse.Namespace(model=MAST3R_CONSTRUCTOR)}, "holds a Tensor at 3"),
        ({"model": {}, "args": argparse.Namespace(model=MAST3R_CONSTRUCTOR)}, r"tensors are missing"),
        ({"model": {}, "args": argparse.Namespace(model="CroCoNet()")}, "constructor string calls 'CroCoNet'"),
        (torch.zeros(3), "holds a Tensor instead of a dictionary"),
        ([1, 2], "holds a list instead of a dictionary"),
    ],
)
def test_pytorch_files_of_other_families(content: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "model.pth", content)
    with pytest.raises(CheckpointError, match=message):
        load_network(path)


def test_a_retrieval_codebook(tmp_path: Path) -> None:
    path = tmp_path / "codebook.pkl"
    codebook = {"type": "Codebook", "params": {"size": "64k"}, "state": {"centroids": np.zeros((8, 4), np.float32)}}
    path.write_bytes(pickle.dumps(codebook))
    refused(path, "a retrieval codebook, which belongs beside a MASt3R checkpoint")


def test_archives_that_pytorch_did_not_write(tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.jpg", b"no")
    refused(path, "a zip archive that PyTorch did not write")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({"model": 1})[:-3])
        archive.writestr("model/version", b"3")
    refused(path, "a PyTorch file that cannot be")
    torch.jit.script(torch.nn.Identity()).save(tmp_path / "program.pt")
    refused(tmp_path / "program.pt", "a TorchScript program")


def test_a_legacy_tar_file(tmp_path: Path) -> None:
    path = tmp_path / "model.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("pickle")
        archive.addfile(info, io.BytesIO())
    refused(path, "not a checkpoint")


def test_paths_that_do_not_exist(tmp_path: Path) -> None:
    refused(tmp_path / "missing.pth", "no such file or folder")
    with pytest.raises(CheckpointError, match="no such file or folder"):
        load_network("weights/missing.pth")
