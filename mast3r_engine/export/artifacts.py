"""Which files a reconstruction can become, by name, and the writing of those that were asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mast3r_engine.errors import ExportError, OptionsError
from mast3r_engine.export.colmap import write_colmap, write_colmap_text, write_splatting
from mast3r_engine.export.depth_maps import write_depth_npz, write_depth_png
from mast3r_engine.export.gaussian_object import write_gaussian_object
from mast3r_engine.export.glb import write_glb
from mast3r_engine.export.instant_splat import write_instant_splat
from mast3r_engine.export.mesh import write_mesh
from mast3r_engine.export.photographs import write_photographs
from mast3r_engine.export.ply import write_scene_ply
from mast3r_engine.export.poses import write_poses
from mast3r_engine.export.preview import render_preview
from mast3r_engine.export.trajectory_tum import write_trajectory
from mast3r_engine.export.transforms import write_transforms
from mast3r_engine.reconstruction import Reconstruction


@dataclass(frozen=True)
class Format:
    """One artefact a reconstruction can be written as."""

    media_type: str
    write: Callable[[Reconstruction, Path], None]  # raises OSError when the file cannot be written, ExportError see there


@dataclass(frozen=True)
class Artifact:
    """A written file."""

    name: str
    media_type: str
    bytes: int
    sha256: str  # hex


# A new format is one entry here and one module beside this one.
FORMATS: dict[str, Format] = {
    "scene.ply": Format("application/ply", write_scene_ply),
    "poses.json": Format("application/json", write_poses),
    "preview.png": Format("image/png", render_preview),
    "scene.glb": Format("model/gltf-binary", write_glb),
    "mesh.ply": Format("application/ply", write_mesh),
    "colmap.zip": Format("application/zip", write_colmap),
    "colmap_text.zip": Format("application/zip", write_colmap_text),
    "splatting.zip": Format("application/zip", write_splatting),
    "transforms.json": Format("application/json", write_transforms),
    "gaussianobject.zip": Format("application/zip", write_gaussian_object),
    "instantsplat.zip": Format("application/zip", write_instant_splat),
    "trajectory.txt": Format("text/plain", write_trajectory),
    "depth_png.zip": Format("application/zip", write_depth_png),
    "depth.npz": Format("application/octet-stream", write_depth_npz),
    "images.zip": Format("application/zip", write_photographs),
}
DEFAULT_OUTPUTS = ("scene.ply", "poses.json", "preview.png")


def check_outputs(outputs: Sequence[str]) -> None:
    """Raise OptionsError when an output is not known, before hours are spent on a scene."""
    unknown = [name for name in outputs if name not in FORMATS]
    if unknown:
        raise OptionsError(f"unknown output {unknown[0]!r}; known: {', '.join(FORMATS)}")


def write_artifacts(
    scene: Reconstruction,
    folder: Path,
    outputs: Sequence[str] = DEFAULT_OUTPUTS,
    on_progress: Callable[[float], None] | None = None,
    on_impossible: Callable[[str, ExportError], None] | None = None,
) -> list[Artifact]:
    """Write the named outputs into `folder` (made if absent), each once, in the order given.

    OptionsError when an output is not known; nothing is written then. ExportError when the scene cannot become one of them;
    with `on_impossible` that one is left out instead and `on_impossible(name, error)` is called.
    """
    check_outputs(outputs)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(dict.fromkeys(outputs))
    written = []
    for done, name in enumerate(wanted):
        try:
            FORMATS[name].write(scene, folder / name)
            written.append(_describe(folder / name, FORMATS[name].media_type))
        except ExportError as error:
            if on_impossible is None:
                raise
            on_impossible(name, error)
        if on_progress is not None:
            on_progress((done + 1) / len(wanted))
    return written


def _describe(path: Path, media_type: str) -> Artifact:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return Artifact(path.name, media_type, path.stat().st_size, digest.hexdigest())
