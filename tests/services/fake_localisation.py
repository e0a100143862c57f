"""A localisation engine for tests: no network, a pose that tells what it was asked, and misbehaviour on demand.

A photograph whose EXIF description is "do-WHAT" makes the engine do it: crash, raise, memory, nan, lost, slow.
The pose of a query is a translation by its mean colour over 100. What a test wants to see leaves as numbers of the answer: the
serial number of the reference's encoding as inliers, how many photographs were encoded together as reprojection error.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import ImageStat

from services.adapters.settings import Settings
from services.contract.localisation import CameraIntrinsics, Prior
from services.worker.localisation_engine import (
    DecodedPhoto,
    Encoded,
    Found,
    FrozenMap,
    NotFound,
    OpenMap,
    Outcome,
    PosedReference,
    SceneToFreeze,
)

DESCRIPTION = 0x010E
SIZE = 1000


class FakeFault(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class FakeEncoding:
    name: str
    mean: tuple[float, ...]
    wish: str
    serial: int
    together: int  # photographs that were encoded in one call
    intrinsics: CameraIntrinsics | None = None


class FakeLocalisation:
    name = "fake-localisation"

    def __init__(self, fingerprint: str = "fake1", seconds: float = 0.0) -> None:
        self.fingerprint = fingerprint
        self._seconds = seconds
        self._encoded = 0

    def warm_up(self) -> None:
        time.sleep(self._seconds)

    def encode(self, photos: Sequence[DecodedPhoto]) -> list[Encoded]:
        encodings = []
        for photo in photos:
            self._encoded += 1
            wish = str(photo.image.getexif().get(DESCRIPTION, ""))
            if wish == "do-crash":
                os.kill(os.getpid(), signal.SIGKILL)
            elif wish == "do-raise":
                raise ValueError("a secret inside")
            elif wish == "do-memory":
                raise MemoryError
            elif wish == "do-device":
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            mean = tuple(ImageStat.Stat(photo.image.convert("RGB")).mean)
            encodings.append(FakeEncoding(photo.name, mean, wish, self._encoded, len(photos), photo.intrinsics))
        return encodings

    def size_of(self, encoded: Encoded) -> int:
        return SIZE

    def pack(self, encoded: Encoded) -> bytes:
        return pickle.dumps(encoded)

    def unpack(self, data: bytes) -> Encoded:
        return pickle.loads(data)

    def with_intrinsics(self, encoded: Encoded, intrinsics: CameraIntrinsics | None) -> Encoded:
        return replace(encoded, intrinsics=intrinsics)

    def localize(self, query: Encoded, references: Sequence[PosedReference]) -> Outcome:
        posed = all(reference.pose is not None for reference in references)
        return self._found(query, None if posed else 0, list(range(len(references))), references[0].encoded.serial)

    def freeze(self, scene: SceneToFreeze, folder: Path, give_way: Callable[[], None]) -> FrozenMap:
        poses = json.loads(scene.poses.read_text())
        if poses.get("do") == "raise":
            raise ValueError("a secret inside")
        if poses.get("do") == "invalid":
            raise FakeFault("invalid_map", "no photograph is registered")
        if poses.get("do") == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        for _ in scene.photos:
            give_way()
            time.sleep(float(poses.get("seconds", 0.0)))
        (folder / "parts").mkdir()
        (folder / "parts" / "map.json").write_text(json.dumps({"photos": [photo.name for photo in scene.photos]}))
        return FrozenMap(photos=len(scene.photos), metric=True, scale_source="fake")

    def open_map(self, folder: Path) -> OpenMap:
        return json.loads((folder / "parts" / "map.json").read_text())

    def localize_in_maps(self, query: Encoded, maps: Sequence[OpenMap], priors: Sequence[Prior | None]) -> Outcome:
        assert len(priors) == len(maps)
        if priors[-1] is not None and priors[-1].radius < 0.01:
            return NotFound("no_photo_near_prior", "no photograph of the map lies near the prior")
        return self._found(query, len(maps) - 1, maps[-1]["photos"], 100)

    def _found(self, query: FakeEncoding, frame: int | None, used: Sequence[int | str], inliers: int) -> Outcome:
        if query.wish == "do-lost":
            return NotFound("no_overlap", "the photographs do not show the same place")
        time.sleep(10 * self._seconds if query.wish == "do-slow" else self._seconds)
        x = float("nan") if query.wish == "do-nan" else query.mean[0] / 100
        pose = [[1.0, 0.0, 0.0, x], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
        covariance = [[0.01 if i == j else 0.0 for j in range(6)] for i in range(6)]
        return Found(pose, covariance, frame, True, "fake", inliers, 0.5, float(query.together), used)


def load(settings: Settings) -> FakeLocalisation:
    assert "torch" not in sys.modules, "a worker with the fake engine stays light"
    return FakeLocalisation()


def load_other(settings: Settings) -> FakeLocalisation:
    """Another checkpoint."""
    return FakeLocalisation("fake2")


def load_slow(settings: Settings) -> FakeLocalisation:
    """A query takes 0.2 s, "do-slow" 2 s."""
    return FakeLocalisation(seconds=0.2)


def photo_that(wish: str, colour: tuple[int, int, int] = (100, 100, 100), size: tuple[int, int] = (64, 48), **save: Any) -> bytes:
    """A JPEG that makes the fake do something."""
    import io

    from PIL import Image

    image, buffer = Image.new("RGB", size, colour), io.BytesIO()
    exif = image.getexif()
    if wish:
        exif[DESCRIPTION] = wish
    if "orientation" in save:
        exif[0x0112] = save["orientation"]
    image.save(buffer, "JPEG", exif=exif.tobytes())
    return buffer.getvalue()
