"""Export: a reconstruction as files. Every format writes through `write_artifacts`."""

from mast3r_engine.export.artifacts import DEFAULT_OUTPUTS, FORMATS, Artifact, check_outputs, write_artifacts
from mast3r_engine.export.ply import write_ply, write_scene_ply
from mast3r_engine.export.poses import load_poses_schema, poses_document, write_poses
from mast3r_engine.export.preview import render_preview

__all__ = [
    "DEFAULT_OUTPUTS",
    "FORMATS",
    "Artifact",
    "check_outputs",
    "load_poses_schema",
    "poses_document",
    "render_preview",
    "write_artifacts",
    "write_ply",
    "write_poses",
    "write_scene_ply",
]
