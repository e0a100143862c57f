"""A reconstruction of the noisy oracle from photographs on disk, three times the network's size, for the exports."""

from __future__ import annotations

import functools
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mast3r_engine import Options, reconstruct
from mast3r_engine.evaluation.oracle import OracleNetwork, OracleNoise, make_scene
from mast3r_engine.reconstruction import Reconstruction
from tests.engine.standing_in import photos, true_poses

VIEWS, HEIGHT, WIDTH = 5, 96, 128
SCALE = 3.125  # original pixels per network pixel: 400x300


@functools.cache
def oracle() -> OracleNetwork:
    return OracleNetwork(make_scene(VIEWS, HEIGHT, WIDTH, arc_degrees=60), OracleNoise())


@functools.cache
def oracle_scene() -> Reconstruction:
    """Every test gets the same object: none may change it."""
    folder = Path(tempfile.mkdtemp(prefix="m3r-exports-"))
    paths = []
    for k, pixels in enumerate(photos(oracle())):
        paths.append(folder / f"photo {k} für.png")
        Image.fromarray(pixels).resize((int(WIDTH * SCALE), int(HEIGHT * SCALE))).save(paths[-1])
    return reconstruct(paths, oracle(), Options(image_size=WIDTH))


def truth() -> NDArray[np.float64]:  # (N, 4, 4)
    return true_poses(oracle())


def unpack(path: Path) -> Path:
    """The folder with what an archive holds."""
    folder = path.with_suffix("")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder
