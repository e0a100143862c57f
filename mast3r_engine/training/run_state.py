"""What a run must know to go on after it was killed, and how that is written and read."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mast3r_engine.errors import TrainingError

STATE_FILE = "state.pt"


@dataclass
class Position:
    """How far a run is."""

    stage: int = 0  # the stage under way
    step: int = 0  # steps done in it
    stage_seconds: float = 0.0
    total_steps: int = 0
    pairs: int = 0
    seconds: float = 0.0
    skipped: int = 0  # steps left out because the loss was not finite


@dataclass
class RunState:
    """A saved run."""

    position: Position
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    optimiser: dict[str, Any] | None  # None at a stage's beginning


def write_state(folder: Path, state: RunState) -> None:
    """Write beside the old state, flush to the disk, then put it in its place: a kill at any moment leaves one whole state."""
    content = {
        "position": asdict(state.position), "weights": state.weights, "average": state.average, "optimiser": state.optimiser
    }  # fmt: skip
    partial = folder / f"{STATE_FILE}.partial"
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / STATE_FILE)


def read_state(folder: Path) -> RunState | None:
    """The saved run of a folder, or None; TrainingError if its file is damaged."""
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return RunState(Position(**content["position"]), content["weights"], content["average"], content["optimiser"])
    except Exception as error:
        raise TrainingError(f"training state {path.name} cannot be read ({error}); delete it to start again") from error
