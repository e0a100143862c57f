"""`colmap.zip`, `colmap_text.zip`: COLMAP's sparse model with tracks; `splatting.zip`: the same cameras, the cloud as seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mast3r_engine.export.archive import readme, write_archive
from mast3r_engine.export.colmap_binary import binary_files
from mast3r_engine.export.colmap_model import ColmapModel, model_with_cloud, model_with_tracks
from mast3r_engine.export.colmap_text import text_files
from mast3r_engine.export.selection import exported_views, selection_notes
from mast3r_engine.reconstruction import Reconstruction

FOLDER = "sparse/0/"
MAX_SEEDS = 1_000_000
PIXELS = "cameras: PINHOLE, pixels of the upright photographs, origin at the corner of the top-left pixel"
PHOTOS = "put the photographs, turned upright, into images/ beside sparse/ (the output images.zip holds them so)"


def write_colmap(scene: Reconstruction, path: Path) -> None:
    """Write the binary model, points triangulated from the matches."""
    model = model_with_tracks(scene)
    write_archive(path, [*_placed(binary_files(model)), _readme("COLMAP model, binary", scene, model)])


def write_colmap_text(scene: Reconstruction, path: Path) -> None:
    """Write the same model as text."""
    model = model_with_tracks(scene)
    files = text_files(model, selection_notes(scene)[:2])
    write_archive(path, [*_placed(files), _readme("COLMAP model, text", scene, model)])


def write_splatting(scene: Reconstruction, path: Path) -> None:
    """Write what trainers of Gaussian splatting take for a COLMAP model: cameras, and the cloud as seeds instead of tracks."""
    model = model_with_cloud(scene, exported_views(scene), MAX_SEEDS)
    write_archive(path, [*_placed(binary_files(model)), _readme("COLMAP model for Gaussian splatting", scene, model)])


def _placed(files: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(FOLDER + name, content) for name, content in files]


def _readme(title: str, scene: Reconstruction, model: ColmapModel) -> tuple[str, bytes]:
    points = model.points
    if len(points.image_ids):
        mean = f"{points.length.mean():.2f} photographs each, mean error {points.error.mean():.3f} pixels"
        told = f"{len(points.xyz)} points from matches, {mean}"
    elif len(points.xyz):
        told = f"{len(points.xyz)} points of the fused cloud, without tracks: seeds, nothing for a bundle adjustment"
    else:
        told = "no points: the network gave no matches (splatting.zip has the fused cloud)"
    return readme(title, [*selection_notes(scene), PIXELS, told, PHOTOS])
