"""Masks and depth maps as image files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mast3r_engine.errors import PriorsError
from mast3r_engine.priors import DepthPrior, Mask

T = TypeVar("T")

USED = 128  # of 255: masks are white where a pixel may be used
MILLIMETRE = np.float32(0.001)


def read_mask(path: Path) -> Mask:
    """Read a PNG, white where pixels may be used; OSError, or PriorsError when it uses no pixel."""
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L"))
    return Mask(grey >= USED)


def read_depth(path: Path) -> DepthPrior:
    """Read a 16-bit PNG in millimetres, or a NumPy file in metres; 0 and NaN are not known. OSError, ValueError, PriorsError."""
    if path.suffix == ".npy":
        return DepthPrior(np.load(path, allow_pickle=False))
    with Image.open(path) as image:
        if not image.mode.startswith("I"):
            raise PriorsError(f"depth is a picture of mode {image.mode}; it must be a 16-bit PNG in millimetres")
        millimetres: NDArray[np.float32] = np.asarray(image).astype(np.float32)
    return DepthPrior(millimetres * MILLIMETRE)


class ReadWhenAsked(Mapping[str, T]):
    """Masks or depth maps by their photographs' names, each read when it is asked for: together they may not fit into memory."""

    def __init__(self, paths: Mapping[str, Path], read: Callable[[Path], T]) -> None:
        self._paths = dict(paths)
        self._read = read

    def __getitem__(self, name: str) -> T:
        path = self._paths[name]
        try:
            return self._read(path)
        except (PriorsError, OSError, ValueError) as error:
            raise PriorsError(f"{name}: {path.name} cannot be used: {error}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)
