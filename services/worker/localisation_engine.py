"""What a localisation worker needs of an engine, and how the engine is found. Importing this loads no network and no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from services.adapters.settings import Settings
from services.contract.localisation import CameraIntrinsics, Matrix4, Prior
from services.worker.engine import Photo

# Made by an engine's `encode` and `open_map`, and only handed back to it.
Encoded = Any
OpenMap = Any


@dataclass(frozen=True)
class DecodedPhoto:
    """A photograph whose pixels are read."""

    name: str
    image: Image.Image  # as stored, EXIF kept
    intrinsics: CameraIntrinsics | None  # of the upright photograph


@dataclass(frozen=True)
class PosedReference:
    """A reference of a query."""

    encoded: Encoded
    pose: Matrix4 | None  # camera to world; all references of a query have one, or none has


@dataclass(frozen=True)
class Found:
    """Where a query was taken."""

    pose: Matrix4  # camera to frame, OpenCV axes
    covariance: list[list[float]]  # 6x6: translation, rotation vector; in the frame, left perturbation
    frame: int | None  # index of the reference or map whose frame it is; None: the world of the references' poses
    metric: bool
    scale_source: str
    inliers: int
    inlier_ratio: float
    reprojection_px: float
    used: Sequence[int | str]  # indices of references, or names of a map's photographs, that the pose rests on


@dataclass(frozen=True)
class NotFound:
    """Why a query has no pose that can be trusted."""

    reason: str  # stable
    detail: str


Outcome = Found | NotFound


@dataclass(frozen=True)
class SceneToFreeze:
    """A finished reconstruction, fetched into the working folder."""

    photos: Sequence[Photo]  # of the job, in its order
    poses: Path  # poses.json
    state: Path | None  # what the engine kept of the scene beyond its artefacts, if it did


@dataclass(frozen=True)
class FrozenMap:
    """What came of it; the files lie in the folder that was given."""

    photos: int
    metric: bool
    scale_source: str


class LocalisationEngine(Protocol):
    """Loaded once per process. Queries and background work call it from two threads; it is given away between network calls.

    Its methods may raise anything; an attribute `code` of invalid_image, invalid_intrinsics, invalid_references or out_of_memory
    names the fault, the rest is an engine_error.
    """

    name: str
    fingerprint: str  # of the network; what another one encoded means nothing to it

    def warm_up(self) -> None:
        """Run once what a query runs, so that the first one does not wait for kernels."""

    def encode(self, photos: Sequence[DecodedPhoto]) -> list[Encoded]:
        """Encode photographs together."""

    def size_of(self, encoded: Encoded) -> int:
        """Bytes of memory that an encoding takes."""

    def pack(self, encoded: Encoded) -> bytes:
        """An encoding as one file."""

    def unpack(self, data: bytes) -> Encoded:
        """The encoding of a file; raises when it is damaged or another network's."""

    def with_intrinsics(self, encoded: Encoded, intrinsics: CameraIntrinsics | None) -> Encoded:
        """The same encoding with another camera."""

    def localize(self, query: Encoded, references: Sequence[PosedReference]) -> Outcome:
        """Find a query against references."""

    def freeze(self, scene: SceneToFreeze, folder: Path, give_way: Callable[[], None]) -> FrozenMap:
        """Make a map's files in an empty folder. `give_way` is called before each use of the network and may raise to stop."""

    def open_map(self, folder: Path) -> OpenMap:
        """Read a map into memory."""

    def localize_in_maps(self, query: Encoded, maps: Sequence[OpenMap], priors: Sequence[Prior | None]) -> Outcome:
        """Find a query in maps; one prior per map, in its frame."""


def load_localisation_engine(settings: Settings) -> LocalisationEngine:
    """Load MASt3R with the checkpoint of the settings."""
    from services.worker.localisation_mast3r import load_mast3r_localisation

    return load_mast3r_localisation(settings)


def find_localisation_engine(settings: Settings) -> Callable[[Settings], LocalisationEngine]:
    """Find the function `module:name` that the settings name; raises ValueError."""
    module, _, name = settings.localisation_engine.partition(":")
    try:
        found: Callable[[Settings], LocalisationEngine] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        wanted = f"localisation_engine is {settings.localisation_engine!r}; it must be module:function ({error})"
        raise ValueError(wanted) from error
    return found
