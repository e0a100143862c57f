"""A tiny data set in the map-free benchmark's format, whose right answers can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

QUERIES = 11  # frame_00000 … frame_00010: the single-frame track asks for 0, 5 and 10
WIDTH, HEIGHT = 54, 72


def write_scene(folder: Path, world2cam: list[tuple[float, ...]], focal: float = 60.0, grey: int = 1) -> None:
    """Write one scene; `world2cam`: qw qx qy qz tx ty tz per query."""
    for name in ("seq0", "seq1"):
        (folder / name).mkdir(parents=True)
    frames = ["seq0/frame_00000.jpg"] + [f"seq1/frame_{k:05d}.jpg" for k in range(len(world2cam))]
    for k, frame in enumerate(frames):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), grey + (k > 0), np.uint8)).save(folder / frame, quality=100, subsampling=0)
    line = f"{focal} {focal} {(WIDTH - 1) / 2} {(HEIGHT - 1) / 2} {WIDTH} {HEIGHT}"
    (folder / "intrinsics.txt").write_text("# frame fx fy cx cy W H\n" + "".join(f"{frame} {line}\n" for frame in frames))
    poses = [(1.0, 0, 0, 0, 0, 0, 0), *world2cam]
    text = "".join(f"{frame} {' '.join(map(str, pose))}\n" for frame, pose in zip(frames, poses, strict=True))
    (folder / "poses.txt").write_text("# frame qw qx qy qz tx ty tz\n" + text)


def sideways(metres: float) -> tuple[float, ...]:
    """World-to-camera line of a camera that stands `metres` to the right of the reference and looks the same way."""
    return (1.0, 0, 0, 0, -metres, 0, 0)
