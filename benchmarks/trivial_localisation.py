# ruff: noqa: ARG001, ARG002 - it keeps to an interface and looks at nothing
"""A localisation engine that computes nothing: what is left is the service's own time, decoding included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from services.adapters.settings import Settings
from services.contract.localisation import CameraIntrinsics, Prior
from services.worker.localisation_engine import (
    DecodedPhoto,
    Encoded,
    Found,
    FrozenMap,
    OpenMap,
    Outcome,
    PosedReference,
    SceneToFreeze,
)

IDENTITY = [[1.0 if i == j else 0.0 for j in range(4)] for i in range(4)]
COVARIANCE = [[1e-4 if i == j else 0.0 for j in range(6)] for i in range(6)]


class TrivialLocalisation:
    """Every query is where its reference is."""

    name = "trivial"
    fingerprint = "trivial"

    def warm_up(self) -> None:
        """Nothing is to be warmed."""

    def encode(self, photos: Sequence[DecodedPhoto]) -> list[Encoded]:
        """Only the sizes are looked at."""
        return [photo.image.size for photo in photos]

    def size_of(self, encoded: Encoded) -> int:
        """Next to nothing."""
        return 64

    def pack(self, encoded: Encoded) -> bytes:
        """Two numbers."""
        return f"{encoded[0]} {encoded[1]}".encode()

    def unpack(self, data: bytes) -> Encoded:
        """Two numbers."""
        width, height = data.split()
        return int(width), int(height)

    def with_intrinsics(self, encoded: Encoded, intrinsics: CameraIntrinsics | None) -> Encoded:
        """Cameras do not matter."""
        return encoded

    def localize(self, query: Encoded, references: Sequence[PosedReference]) -> Outcome:
        """At the first reference."""
        return Found(IDENTITY, COVARIANCE, 0, True, "trivial", 100, 1.0, 0.5, [0])

    def freeze(self, scene: SceneToFreeze, folder: Path, give_way: Callable[[], None]) -> FrozenMap:
        """An empty map."""
        (folder / "map").write_bytes(b"")
        return FrozenMap(len(scene.photos), True, "trivial")

    def open_map(self, folder: Path) -> OpenMap:
        """An empty map."""
        return None

    def localize_in_maps(self, query: Encoded, maps: Sequence[OpenMap], priors: Sequence[Prior | None]) -> Outcome:
        """At its origin."""
        return Found(IDENTITY, COVARIANCE, 0, True, "trivial", 100, 1.0, 0.5, [])


def load(settings: Settings) -> TrivialLocalisation:
    """Named by `M3R_LOCALISATION_ENGINE`."""
    return TrivialLocalisation()
