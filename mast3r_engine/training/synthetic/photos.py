"""Reading the photographs that textures are cut from, split by photograph."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from mast3r_engine.errors import TrainingError
from mast3r_engine.training.synthetic.randomness import uniform

Split = Literal["train", "validation"]
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
HELD_OUT = 0.1  # share of the photographs that only validation sees


def load_photos(
    path: Path,  # a folder or a tar of images
    split: Split,
    size: int = 192,
) -> tuple[Tensor, int]:  # (N, 3, size, size) uint8, and how many files could not be read
    """All photographs of one split, squeezed to squares.

    Crops of one photograph are told by the part of their name before `__`; a photograph belongs to one split, by a hash of
    that name. TrainingError if nothing is left.
    """
    squares, broken = [], 0
    for name, data in _read_files(path):
        if (_fraction(Path(name).stem.split("__")[0]) < HELD_OUT) != (split == "validation"):
            continue
        try:
            image = Image.open(io.BytesIO(data)).convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
        except (UnidentifiedImageError, OSError):
            broken += 1
            continue
        squares.append(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1))
    if not squares:
        raise TrainingError(
            f"textures: no readable {split} photograph in {path.name} ({broken} broken); give a folder or tar of images"
        )
    return torch.stack(squares), broken


def procedural_photos(count: int, generator: torch.Generator, size: int = 192) -> Tensor:  # (count, 3, size, size) uint8
    """Sums of smooth noise of all scales with hard-edged blobs, for use without photographs."""
    image = torch.zeros(count, 3, size, size, device=generator.device)
    for octave in range(1, 7):
        cells = 2**octave + 1
        noise = uniform(generator, (count, 3, cells, cells), -1, 1)
        noise = noise + 0.5 * noise.sign() * (uniform(generator, (count, 1, 1, 1), 0, 1) < 0.5)
        image += torch.nn.functional.interpolate(noise, (size, size), mode="bicubic") * 0.75**octave
    return ((image * 0.5 + 0.5).clamp(0, 1) * 255).to(torch.uint8)


def _read_files(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in IMAGE_SUFFIXES:
                yield file.name, file.read_bytes()
        return
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                handle = archive.extractfile(member) if member.name.lower().endswith(IMAGE_SUFFIXES) else None
                if handle is not None:
                    yield Path(member.name).name, handle.read()
    except (tarfile.TarError, OSError) as error:
        raise TrainingError(f"textures: {path.name} cannot be read ({error}); give a folder or a tar of images") from error


def _fraction(name: str) -> float:
    return zlib.crc32(name.encode()) / 2**32
