"""The sources and the validation pairs that a stage asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mast3r_engine.errors import TrainingError
from mast3r_engine.training.captures.source import CaptureSource
from mast3r_engine.training.config import MixEntry, Stage, TrainConfig
from mast3r_engine.training.loop import StageData
from mast3r_engine.training.mixture import MixedSource, PairSource
from mast3r_engine.training.synthetic.cameras import CameraRanges
from mast3r_engine.training.synthetic.photos import Split, load_photos, procedural_photos
from mast3r_engine.training.synthetic.scene import SlotCounts
from mast3r_engine.training.synthetic.source import SyntheticOptions, SyntheticSource

SPLITS: tuple[Split, ...] = ("train", "validation")
VALIDATION_SEED = 424_242
PROCEDURAL_PHOTOS = 96


class TrainingData:
    """Textures in memory and captures on disk, made into sources stage by stage."""

    def __init__(
        self,
        config: TrainConfig,
        textures: Path | None,  # a folder or a tar of photographs; None: procedural textures
        captures: Mapping[str, Path],  # folders by the names that the config's mixes use
        device: torch.device,
    ) -> None:
        self._config, self._captures, self._device = config, captures, device
        self.skipped: Counter[str] = Counter()
        self._photos = {}
        for split in SPLITS:
            photos, broken = load_split(textures, split)
            self._photos[split] = photos.to(device)
            self.skipped.update({"textures that cannot be read": broken} if broken else {})

    def stage(self, stage: Stage) -> StageData:
        """Training source and held-out synthetic pairs of one stage's size and difficulty."""
        sources = [self._source(stage, entry) for entry in stage.mix]
        whole = sources[0] if len(sources) == 1 else MixedSource(sources, [entry.share for entry in stage.mix], self._device)
        held_out = SyntheticSource(self._photos["validation"], synthetic_options(stage))
        return StageData(_on(whole, self._device), held_out.draw(self._config.validation_pairs, VALIDATION_SEED, 0))

    def _source(self, stage: Stage, entry: MixEntry) -> PairSource:
        if entry.kind == "synthetic":
            return SyntheticSource(self._photos["train"], synthetic_options(stage), self._config.compile_renderer)
        if entry.name not in self._captures:
            given = ", ".join(self._captures) or "none"
            raise TrainingError(
                f"stage {stage.name!r} wants captures {entry.name!r}; given: {given}; add --data {entry.name}=FOLDER"
            )
        source = CaptureSource(self._captures[entry.name], stage.height, stage.width, stage.matches)
        source.skipped = self.skipped = self.skipped + source.skipped
        return source


def load_split(textures: Path | None, split: Split) -> tuple[Tensor, int]:  # (N, 3, R, R) uint8; how many files are broken
    """One split's photographs, procedural ones without a path."""
    if textures is not None:
        return load_photos(textures, split)
    return procedural_photos(PROCEDURAL_PHOTOS, torch.Generator().manual_seed(SPLITS.index(split) + 1)), 0


def synthetic_options(stage: Stage) -> SyntheticOptions:
    """What a stage asks of rendered pairs."""
    return SyntheticOptions(
        height=stage.height,
        width=stage.width,
        matches=stage.matches,
        cameras=CameraRanges(fov=stage.fov, angle=stage.angle),
        slots=SlotCounts(meshes=stage.meshes),
        shadows=stage.shadows,
    )


def _on(source: PairSource, device: torch.device) -> PairSource:
    """The same source with its batches on a device."""
    return source if device.type == "cpu" else MixedSource([source], [1.0], device)
