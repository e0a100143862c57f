"""poses.json: the cameras of a reconstruction, described by poses.schema.json."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.export.atomic import replace_when_done
from mast3r_engine.reconstruction import Reconstruction

SCHEMA_VERSION = 1


def poses_document(scene: Reconstruction) -> dict[str, Any]:
    """The document as plain values; what is not known is null, never NaN."""
    reasons = {index: reason for index, _, reason in scene.unregistered}
    return {
        "schema_version": SCHEMA_VERSION,
        "metric": bool(scene.metric),
        "axes": "opencv",
        "world": scene.world,
        "images": [_image_entry(scene, i, reasons.get(i)) for i in range(len(scene.names))],
        "pairs": [
            {"i": int(pair.i), "j": int(pair.j), "matches": int(pair.matches), "inliers": int(pair.inliers)}
            for pair in scene.pairs
        ],
    }


def write_poses(scene: Reconstruction, path: Path) -> None:
    """Write poses.json; one line per photograph and per pair keeps it readable and diffable."""
    document = poses_document(scene)
    blocks = []
    for key, value in document.items():
        if isinstance(value, list):
            entries = ",\n".join("    " + json.dumps(entry, allow_nan=False) for entry in value)
            blocks.append(f'  "{key}": [\n{entries}\n  ]' if value else f'  "{key}": []')
        else:
            blocks.append(f'  "{key}": {json.dumps(value, allow_nan=False)}')
    with replace_when_done(path) as temporary:
        temporary.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")


def load_poses_schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12) of poses.json."""
    text = resources.files("mast3r_engine.export").joinpath("poses.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _image_entry(scene: Reconstruction, i: int, reason: str | None) -> dict[str, Any]:
    geometry = scene.geometry[i]
    confidence = scene.confidence[i][np.isfinite(scene.confidence[i])]
    lens = scene.lenses[i] if i < len(scene.lenses) else None
    entry = {
        "name": scene.names[i],
        "registered": bool(scene.component[i] >= 0),
        "reason": reason,
        "component": int(scene.component[i]),
        "width": int(geometry.original_width),
        "height": int(geometry.original_height),
        "exif_orientation": int(scene.exif_orientation[i]),
        "K": _matrix(scene.intrinsics[i]),
        "cam2world": _matrix(scene.cam2world[i]),
        "confidence": round(float(np.median(confidence)), 4) if confidence.size else None,
    }
    return entry if lens is None else {**entry, "lens": {"model": lens.model, "params": list(lens.params)}}


def _matrix(values: NDArray[np.float64]) -> list[list[float]] | None:
    if not np.isfinite(values).all():
        return None
    rows: list[list[float]] = values.tolist()
    return rows
