"""What is known beforehand, as `m3r submit` sends it: the same files that `m3r reconstruct` reads."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

DEEPEST = 65.535  # metres in a 16-bit PNG of millimetres


@dataclass(frozen=True)
class KnownFiles:
    """Where it lies; None: not given."""

    cameras: Path | None = None
    masks: Path | None = None
    depths: Path | None = None

    def depth_maps(self) -> list[Path | tuple[str, bytes]] | None:
        """The depth maps as PNGs: those that are, and those that are made of NumPy files; raises ValueError."""
        if self.depths is None:
            return None
        files = sorted(path for path in self.depths.iterdir() if path.suffix.lower() in (".png", ".npy"))
        if not files:
            raise ValueError(f"{self.depths} holds no .png or .npy file")
        return [path if path.suffix.lower() == ".png" else (f"{path.stem}.png", depth_png(path)) for path in files]


def depth_png(path: Path) -> bytes:
    """Make a 16-bit PNG in millimetres of a NumPy file in metres; 0 and NaN are not known. Raises ValueError."""
    import numpy as np
    from PIL import Image

    metres = np.load(path, allow_pickle=False)
    if metres.ndim != 2 or not np.issubdtype(metres.dtype, np.floating):
        raise ValueError(f"{path} has shape {metres.shape}, {metres.dtype}; a depth map is (height, width) of floats, in metres")
    known = np.nan_to_num(metres, nan=0.0)
    if known.min() < 0 or known.max() > DEEPEST:
        raise ValueError(f"{path} holds {known.min():g} to {known.max():g}; a depth map that is sent has 0 to {DEEPEST} metres")
    target = io.BytesIO()
    Image.fromarray(np.rint(known * 1000).astype(np.uint16)).save(target, "PNG")
    return target.getvalue()
