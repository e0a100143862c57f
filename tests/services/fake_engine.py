"""An engine for tests: takes as long as it is told, makes real small files, and can misbehave in every way a real one might.

What it does stands in the job's options under "fake": {"seconds": per stage, "stages": {stage: seconds}, "at": stage,
"do": what, "once": path of a file that says it was done}; or in a photograph's name: "do-segfault.jpg".
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from services.adapters.settings import Settings
from services.contract.codes import JobErrorCode
from services.contract.jobs import PhotoQuality, Quality, Scale
from services.worker.engine import EngineFile, EngineJob, EngineResult, OnProgress

STAGES = ("load", "encode", "pair", "decode", "match", "align", "fuse", "export")
MEDIA_TYPES = {".ply": "application/ply", ".json": "application/json", ".png": "image/png"}
NAPS = 8


class FakeEngineError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class FakeEngine:
    name = "fake"

    def __init__(self) -> None:
        self.jobs = 0

    def run(self, job: EngineJob, on_progress: OnProgress) -> EngineResult:
        self.jobs += 1
        wishes = dict(job.options.get("fake", {}))
        photos, warnings = self._look_at(job, wishes)
        for number, stage in enumerate(STAGES):
            seconds = wishes.get("stages", {}).get(stage, wishes.get("seconds", 0.0))
            on_progress(stage, number / len(STAGES))
            if stage == wishes.get("at", "decode"):
                misbehave(wishes, job.options)
            for nap in range(NAPS if seconds else 0):
                time.sleep(seconds / NAPS)
                on_progress(stage, (number + (nap + 1) / NAPS) / len(STAGES))
        files = self._write(job, photos)
        on_progress("export", 1.0)
        quality = Quality(verdict="good" if not warnings else "fair", reasons=[], photos=photos)
        return EngineResult(files, Scale(metric=False, source="none"), quality, warnings, points=1)

    def _look_at(self, job: EngineJob, wishes: dict[str, Any]) -> tuple[list[PhotoQuality], list[str]]:
        photos, warnings = [], []
        for photo in job.photos:
            if photo.name.startswith("do-"):
                wishes["do"] = Path(photo.name).stem.removeprefix("do-")
            try:
                with Image.open(photo.path) as image:
                    image.load()
                photos.append(PhotoQuality(name=photo.name, registered=True, component=0))
            except (UnidentifiedImageError, OSError) as error:
                if job.strict_images:
                    raise FakeEngineError("invalid_image", f"{photo.name}: {error}") from error
                warnings.append(f"{photo.name} was left out: cannot be read")
                photos.append(PhotoQuality(name=photo.name, registered=False, component=-1, reason="cannot be read"))
        return photos, warnings

    def _write(self, job: EngineJob, photos: list[PhotoQuality]) -> list[EngineFile]:
        job.folder.mkdir(parents=True)
        names = list(dict.fromkeys(["scene.ply", "poses.json", "preview.png", *job.outputs]))
        for name in names:
            path = job.folder / name
            if path.suffix == ".ply":
                header = (
                    "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
                )
                path.write_text(header + "0 0 0\n")
            elif path.suffix == ".png":
                Image.new("RGB", (16, 9), (200, 30, 30)).save(path)
            else:
                path.write_text(json.dumps({"schema_version": 1, "images": [photo.name for photo in photos], "jobs": self.jobs}))
        return [
            EngineFile(name, job.folder / name, MEDIA_TYPES.get(Path(name).suffix, "application/octet-stream")) for name in names
        ]


def misbehave(wishes: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    what = str(wishes.get("do", ""))
    if "once" in wishes:
        marker = Path(wishes["once"])
        if marker.exists():
            return
        marker.write_text(str(os.getpid()))
    if what == "segfault":
        ctypes.string_at(1)
    elif what == "exit":
        os._exit(3)
    elif what == "abort":
        os.abort()
    elif what == "sys-exit":
        sys.exit(4)
    elif what == "loop":
        while True:
            pass
    elif what == "deaf":  # in C, holding the interpreter: no thread beats, no signal is heard
        ctypes.PyDLL(None).usleep(60_000_000)
    elif what == "native":  # in C, without the interpreter: beats go on, but no signal is heard until it ends
        hashlib.pbkdf2_hmac("sha256", b"", b"", 500_000_000)
    elif what == "ignore":  # hears nothing but beats on
        time.sleep(60)
    elif what == "hog" or (
        what == "hog-when-large" and min(options.get("image_size", 512), options.get("max_image_size", 512)) > 300
    ):
        hog()
    elif what == "device":
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    elif what == "disk-full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    elif what == "surprise":
        raise ValueError("a fault nobody thought of")
    elif what.replace("-", "_") in set(JobErrorCode) | {"invalid_options", "invalid_checkpoint", "invalid_prediction"}:
        raise FakeEngineError(what.replace("-", "_"), f"the fake was told to fail with {what}")


def hog() -> None:
    held = []
    while True:
        held.append(bytearray(64 * 2**20))


def load(settings: Settings) -> FakeEngine:
    assert "torch" not in sys.modules, "a child with the fake engine stays light"
    return FakeEngine()
