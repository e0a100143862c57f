"""Photographs of oracle scenes whose surfaces carry a pattern, the same from every side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.evaluation.oracle.scene import OracleView

FREQUENCIES = (2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0)  # radians per metre
WAVES = 6  # of each frequency
CONTRAST = 50.0  # of 255, standard deviation


def painted_photo(view: OracleView, seed: int = 0) -> NDArray[np.uint8]:  # (H, W, 3)
    """Plane waves in space, sampled on the visible surfaces; steep ones alias where surfaces are far or slanted."""
    rng = np.random.default_rng(seed)
    points = view.world_points()
    value = np.zeros(points.shape[:2])
    for frequency in FREQUENCIES:
        for _ in range(WAVES):
            wave = rng.normal(size=3) * frequency
            value += np.sin(points @ wave + rng.uniform(0, 2 * np.pi)) / np.sqrt(np.linalg.norm(wave))
    grey = np.clip(127.0 + CONTRAST * (value - value.mean()) / value.std(), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)
