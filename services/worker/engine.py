"""What a worker needs of an engine, and how the engine is found. Importing this loads no network and no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from services.adapters.settings import Settings
from services.contract.jobs import PhotoQuality, Quality, Scale

OnProgress = Callable[[str, float], None]  # (stage, fraction of the whole job in [0, 1]); may raise to stop the work


@dataclass(frozen=True)
class Photo:
    """A photograph of a job, fetched into the working folder."""

    name: str
    path: Path


@dataclass(frozen=True)
class PriorFiles:
    """What is known beforehand of a job's photographs, fetched into the working folder; by the photographs' names."""

    cameras: Mapping[str, Any] = field(default_factory=dict)  # the document as the contract has it
    masks: Mapping[str, Path] = field(default_factory=dict)  # PNG, white where pixels may be used
    depths: Mapping[str, Path] = field(default_factory=dict)  # 16-bit PNG, millimetres


@dataclass(frozen=True)
class EngineJob:
    """What an engine is asked to do."""

    photos: Sequence[Photo]
    options: Mapping[str, Any]  # nested as in the contract, the preset's already merged in
    outputs: Sequence[str]  # file names that were asked for
    strict_images: bool  # a photograph that cannot be used ends the job, instead of a warning
    folder: Path  # for the files made
    priors: PriorFiles = field(default_factory=PriorFiles)


@dataclass(frozen=True)
class EngineFile:
    """One file that was made, to become an artefact."""

    name: str
    path: Path
    media_type: str


@dataclass(frozen=True)
class EngineResult:
    """What came of it."""

    files: Sequence[EngineFile]
    scale: Scale
    quality: Quality
    warnings: Sequence[str] = ()
    points: int | None = None
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    scene: Path | None = None  # kept with the job, unseen by clients, so that it can be frozen into a map

    @property
    def registered(self) -> list[PhotoQuality]:
        """The photographs that have a camera."""
        return [photo for photo in self.quality.photos if photo.registered]


class Engine(Protocol):
    """Loaded once per process and kept across jobs.

    `run` may raise anything: an attribute `code` that is one of the contract's error codes names the failure, MemoryError is
    tried once more with smaller options, the rest is an engine_error. What `on_progress` raises must come out unchanged.
    """

    name: str

    def run(self, job: EngineJob, on_progress: OnProgress) -> EngineResult:
        """Do the work of one job."""


def load_engine(settings: Settings) -> Engine:
    """Load MASt3R with the checkpoint of the settings."""
    from services.worker.mast3r import load_mast3r

    return load_mast3r(settings)


def find_engine(settings: Settings) -> Callable[[Settings], Engine]:
    """Find the function `module:name` that the settings name; raises ValueError."""
    module, _, name = settings.engine.partition(":")
    try:
        found: Callable[[Settings], Engine] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"engine is {settings.engine!r}; it must be module:function ({error})") from error
    return found
