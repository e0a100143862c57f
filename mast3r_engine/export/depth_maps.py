"""`depth_png.zip` and `depth.npz`: depth and confidence of every registered photograph, at network size."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mast3r_engine.export.archive import readme, write_archive
from mast3r_engine.export.atomic import replace_when_done
from mast3r_engine.export.selection import exported_names
from mast3r_engine.reconstruction import Reconstruction

LARGEST = 65535
METRIC_STEP = 0.001  # metres per step, what readers of 16-bit depth expect
CONFIDENCE_STEP = 0.001


def write_depth_png(scene: Reconstruction, path: Path) -> None:
    """Write `depth/NAME.png` and `confidence/NAME.png`, 16 bits, 0 where nothing is known; `maps.json` says what a step is.

    Steps are millimetres as long as the deepest pixel fits; without metres, or beyond 65 m, the deepest pixel sets the step.
    """
    write_archive(path, _pictures(scene))


def write_depth_npz(scene: Reconstruction, path: Path) -> None:
    """Write float32 maps `depth_000`, `confidence_000`, … with `names`, `component`, `cam2world` and `intrinsics` of the maps."""
    arrays: dict[str, NDArray[np.generic]] = {
        "names": np.array(scene.names, np.str_),
        "component": scene.component,
        "cam2world": scene.cam2world,
        "intrinsics": scene.network_intrinsics,
        "metric": np.array(scene.metric),
    }
    for i in np.flatnonzero(scene.component >= 0):
        arrays[f"depth_{i:03d}"] = scene.depth[i]
        arrays[f"confidence_{i:03d}"] = scene.confidence[i]
    with replace_when_done(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the stubs take a name to be allow_pickle


def _pictures(scene: Reconstruction) -> Iterator[tuple[str, bytes]]:
    registered = [int(i) for i in np.flatnonzero(scene.component >= 0)]
    deepest = max((float(np.nanmax(scene.depth[i], initial=0.0)) for i in registered), default=0.0)
    step = METRIC_STEP if scene.metric and deepest <= LARGEST * METRIC_STEP else max(deepest, 1e-12) / LARGEST
    surest = max((float(np.nanmax(scene.confidence[i], initial=0.0)) for i in registered), default=0.0)
    confidence_step = max(CONFIDENCE_STEP, surest / LARGEST)
    names, maps = exported_names(scene.names), []
    for i in registered:
        stem = PurePosixPath(names[i]).name
        file = f"{i:03d}_{PurePosixPath(stem).stem}.png"  # numbered: two photographs may differ in their suffix alone
        yield f"depth/{file}", _png(scene.depth[i].astype(np.float64) / step)
        yield f"confidence/{file}", _png(scene.confidence[i].astype(np.float64) / confidence_step)
        maps.append({"index": i, "name": scene.names[i], "file": file, "K": scene.network_intrinsics[i].tolist()})
    document = {"depth_step": step, "confidence_step": confidence_step, "metric": bool(scene.metric), "maps": maps}
    yield "maps.json", (json.dumps(document, allow_nan=False, indent=1) + "\n").encode()
    yield readme(
        "Depth and confidence, 16-bit PNG at network size",
        [
            f"z-depth = value * {step!r} {'metres' if scene.metric else '(arbitrary unit)'}",
            f"confidence = value * {confidence_step!r}",
            "0 = not known; K in maps.json: pixels of these maps, pixel centres at integers",
        ],
    )


def _png(values: NDArray[np.float64]) -> bytes:  # (h, w) in steps
    known = np.where(np.isfinite(values), values, 0.0)
    steps = np.rint(np.clip(known, 0, LARGEST)).astype(np.uint16)
    steps = np.where((known > 0) & (steps == 0), np.uint16(1), steps)  # 0 is kept for what is not known
    file = io.BytesIO()
    Image.fromarray(steps).save(file, "PNG")
    return file.getvalue()
