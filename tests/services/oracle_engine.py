"""The real engine over the oracle network: geometry that is known exactly, through the whole service."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.evaluation.oracle import OracleNetwork, OracleNoise, make_scene
from services.adapters.settings import Settings
from services.worker.localisation_mast3r import Mast3rLocalisation
from services.worker.mast3r import Mast3rEngine

VIEWS = 4
STRANGER = VIEWS  # a view whose descriptors are like nobody's
HEIGHT, WIDTH = 96, 128


class TrainedOracle(OracleNetwork):
    """An oracle needs no training; it cannot recognise the last view anywhere."""

    trained = True

    def _describe(self, view: int, key: list[int]) -> NDArray[np.float64]:
        if view != STRANGER:
            return super()._describe(view, key)
        values: NDArray[Any] = np.random.default_rng(key).standard_normal((HEIGHT, WIDTH, 24))
        return values / np.linalg.norm(values, axis=-1, keepdims=True)


def load_localisation(settings: Settings) -> Mast3rLocalisation:
    """Build the localisation engine that the tests' settings name: the same network."""
    return Mast3rLocalisation(TrainedOracle(make_scene(VIEWS + 1, HEIGHT, WIDTH), OracleNoise.none()), "oracle")


def load_engine(settings: Settings) -> Mast3rEngine:
    """Build the engine that the tests' settings name."""
    return Mast3rEngine(TrainedOracle(make_scene(VIEWS + 1, HEIGHT, WIDTH), OracleNoise.none()), "oracle")  # type: ignore[arg-type]
