"""The classical answer to compare with: SIFT, exhaustive matching and incremental mapping by pycolmap (BSD-3-Clause)."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.errors import EngineError
from mast3r_engine.evaluation.posed_photos import PosedScene


def map_with_sift(scene: PosedScene, seed: int = 0) -> NDArray[np.float64]:  # (N, 4, 4) cam2world, NaN where unregistered
    """Register the scene's photographs without knowing their cameras; EngineError if pycolmap is not installed."""
    try:
        pycolmap: Any = importlib.import_module("pycolmap")
    except ImportError as error:
        raise EngineError("the SIFT baseline needs pycolmap; pip install pycolmap") from error
    poses = np.full((len(scene.photos), 4, 4), np.nan)
    folder = scene.photos[0].parent
    with tempfile.TemporaryDirectory(prefix="m3r-sift-") as place:
        database, models = Path(place) / "database.db", Path(place) / "models"
        models.mkdir()
        pycolmap.set_random_seed(seed)
        pycolmap.logging.minloglevel = 3
        pycolmap.extract_features(database, folder, image_names=[photo.name for photo in scene.photos])
        pycolmap.match_exhaustive(database)
        found = pycolmap.incremental_mapping(database, folder, models)
    if not found:
        return poses
    largest = max(found.values(), key=lambda model: model.num_reg_images())
    names = [photo.name for photo in scene.photos]
    for image in largest.images.values():
        if image.has_pose:
            poses[names.index(image.name)] = np.linalg.inv(np.vstack((image.cam_from_world().matrix(), [0, 0, 0, 1])))
    return poses
