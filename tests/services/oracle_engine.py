"""The real engine over the oracle network: geometry that is known exactly, through the whole service."""

from __future__ import annotations

from mast3r_engine.evaluation.oracle import OracleNetwork, OracleNoise, make_scene
from services.adapters.settings import Settings
from services.worker.mast3r import Mast3rEngine

VIEWS = 4
HEIGHT, WIDTH = 96, 128


class TrainedOracle(OracleNetwork):
    """An oracle needs no training."""

    trained = True


def load_engine(settings: Settings) -> Mast3rEngine:
    """Build the engine that the tests' settings name."""
    noise = OracleNoise.none()
    return Mast3rEngine(TrainedOracle(make_scene(VIEWS, HEIGHT, WIDTH), noise), "oracle")  # type: ignore[arg-type]
