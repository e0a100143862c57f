"""What is kept of a job's scene beyond its artefacts, so that it can be frozen into a map without being reconstructed again.

One compressed npz: cameras, image geometry and the depth maps (half precision of the depth over the photograph's median: an error
of 0.05 %, far below that of any network). Importing this loads torch.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.errors import StoredDataError
from mast3r_engine.reconstruction import Reconstruction
from mast3r_engine.views import ImageGeometry

VERSION = 1


def save_scene(scene: Reconstruction, path: Path) -> None:
    """Write what freezing needs."""
    medians = [_median(depth) for depth in scene.depth]
    facts = {
        "version": VERSION,
        "names": scene.names,
        "metric": scene.metric,
        "geometry": [asdict(geometry) for geometry in scene.geometry],
        "medians": medians,
    }
    depths = {f"depth_{k}": (depth / median).astype(np.float16) for k, (depth, median) in enumerate(zip(scene.depth, medians))}
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            facts=np.frombuffer(json.dumps(facts).encode(), np.uint8),
            cam2world=scene.cam2world,
            component=scene.component,
            intrinsics=scene.intrinsics,
            network_intrinsics=scene.network_intrinsics,
            **depths,
        )


def load_scene(path: Path) -> Reconstruction:
    """Read what `save_scene` wrote: a reconstruction without clouds, confidences and pairs; StoredDataError for anything else."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(stored["facts"].tobytes())
            if facts["version"] != VERSION:
                raise StoredDataError(f"scene of version {facts['version']}; this software reads {VERSION}: reconstruct it again")
            depths = [stored[f"depth_{k}"].astype(np.float32) * median for k, median in enumerate(facts["medians"])]
            return _reconstruction(facts["names"], facts["metric"], facts["geometry"], depths, {k: stored[k] for k in _CAMERAS})
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile, zlib.error) as error:
        raise StoredDataError(f"the kept scene is damaged ({error}); reconstruct the job again") from None


_CAMERAS = ("cam2world", "component", "intrinsics", "network_intrinsics")


def _reconstruction(
    names: list[str],
    metric: bool,
    geometry: list[dict[str, int]],
    depths: list[NDArray[np.float32]],
    cameras: dict[str, NDArray[np.float64]],
) -> Reconstruction:
    nothing = np.zeros((0, 3), np.float32)
    return Reconstruction(
        names=names,
        metric=metric,
        cam2world=cameras["cam2world"],
        component=cameras["component"].astype(np.int64),
        unregistered=[],
        intrinsics=cameras["intrinsics"],
        network_intrinsics=cameras["network_intrinsics"],
        geometry=[ImageGeometry(**each) for each in geometry],
        exif_orientation=[1] * len(names),
        depth=[depth.astype(np.float32) for depth in depths],
        confidence=[np.ones_like(depth) for depth in depths],
        points=nothing,
        colors=np.zeros((0, 3), np.uint8),
        point_confidence=np.zeros(0, np.float32),
        normals=nothing,
        point_component=np.zeros(0, np.int32),
        pairs=[],
        stats={},
    )


def _median(depth: NDArray[np.float32]) -> float:
    known = depth[np.isfinite(depth) & (depth > 0)]
    return float(np.median(known)) if len(known) else 1.0
