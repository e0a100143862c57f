"""The sources and the validation pairs that a stage asks for."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from mast3r_engine.errors import TrainingError
from mast3r_engine.training.captures.source import CaptureSource
from mast3r_engine.training.config import MixEntry, Stage, TrainConfig
from mast3r_engine.training.loop import StageData
from mast3r_engine.training.mixture import MixedSource, PairSource, SizesSource
from mast3r_engine.training.quarter_turns import TurnedSource
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
        threads = config.loader_threads if config.prefetch else 0
        self._pool = ThreadPoolExecutor(threads, "m3r-captures") if threads and captures else None
        self._open: dict[tuple[str, str], CaptureSource] = {}
        self._broken: Counter[str] = Counter()
        self._photos = {}
        for split in SPLITS:
            photos, broken = load_split(textures, split)
            self._photos[split] = photos.to(device)
            self._broken.update({"textures that cannot be read": broken} if broken else {})

    @property
    def skipped(self) -> Counter[str]:
        """What could not be used so far, by reason."""
        return sum((source.skipped for source in self._open.values()), self._broken)

    def close(self) -> None:
        """Let go of batches that nobody will draw."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def stage(self, stage: Stage) -> StageData:
        """Training source and held-out synthetic pairs of one stage's size and difficulty."""
        sizes = [(height, width) for width, height in stage.sizes] or [(stage.height, stage.width)]
        sized = [self._mixture(dataclasses.replace(stage, height=height, width=width)) for height, width in sizes]
        source = sized[0] if len(sized) == 1 else SizesSource(sized, self._config.seed)
        if stage.augment.quarter_turns != "off":
            source = TurnedSource(source, stage.augment.quarter_turns)
        held_out = SyntheticSource(self._photos["validation"], synthetic_options(stage))
        return StageData(source, held_out.draw(self._config.validation_pairs, VALIDATION_SEED, 0))

    def _mixture(self, stage: Stage) -> PairSource:
        sources = [self._source(stage, entry) for entry in stage.mix]
        if len(sources) == 1 and self._device.type == "cpu":
            return sources[0]
        return MixedSource(sources, [entry.share for entry in stage.mix], self._device)

    def _source(self, stage: Stage, entry: MixEntry) -> PairSource:
        if entry.kind == "synthetic":
            return SyntheticSource(self._photos["train"], synthetic_options(stage), self._config.compile_renderer)
        if entry.name not in self._captures:
            given = ", ".join(self._captures) or "none"
            raise TrainingError(
                f"stage {stage.name!r} wants captures {entry.name!r}; given: {given}; add --data {entry.name}=FOLDER"
            )
        key = stage.name, entry.name
        if key not in self._open:  # one reading of the folder and one count for all sizes
            self._open[key] = CaptureSource(
                self._captures[entry.name], stage.height, stage.width, stage.matches, augment=stage.augment, pool=self._pool
            )
        return self._open[key].resized(stage.height, stage.width)


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
