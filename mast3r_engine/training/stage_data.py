"""The sources and the validation pairs that a stage asks for."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mast3r_engine.training.config import Stage, TrainConfig
from mast3r_engine.training.loop import StageData
from mast3r_engine.training.synthetic.cameras import CameraRanges
from mast3r_engine.training.synthetic.photos import load_photos, procedural_photos
from mast3r_engine.training.synthetic.source import SyntheticOptions, SyntheticSource

VALIDATION_SEED = 424_242
PROCEDURAL_PHOTOS = 256


class TrainingData:
    """Textures and captures in memory, made into sources stage by stage."""

    def __init__(
        self,
        config: TrainConfig,
        textures: Path | None,  # a folder or a tar of photographs; None: procedural textures
        device: torch.device,
    ) -> None:
        self._config = config
        self._device = device
        self.broken_textures = 0
        self._photos = {split: self._load(textures, split) for split in ("train", "validation")}

    def stage(self, stage: Stage) -> StageData:
        """Training source and validation pairs of one stage's size and difficulty."""
        options = SyntheticOptions(
            height=stage.height, width=stage.width, matches=stage.matches, cameras=CameraRanges(fov=stage.fov, angle=stage.angle)
        )
        held_out = SyntheticSource(self._photos["validation"], options).draw(self._config.validation_pairs, VALIDATION_SEED, 0)
        return StageData(SyntheticSource(self._photos["train"], options, self._config.compile_renderer), held_out)

    def _load(self, textures: Path | None, split: str) -> Tensor:
        if textures is None:
            generator = torch.Generator().manual_seed(1 if split == "train" else 2)
            return procedural_photos(PROCEDURAL_PHOTOS, generator).to(self._device)
        photos, broken = load_photos(textures, "train" if split == "train" else "validation")
        self.broken_textures += broken
        return photos.to(self._device)
