"""Artefacts a job may ask for, by file name."""

from __future__ import annotations

ALWAYS: tuple[str, ...] = ("scene.ply", "poses.json", "preview.png")
"""Made for every job; naming them is allowed."""

OUTPUTS: tuple[str, ...] = (
    *ALWAYS,
    "scene.glb",
    "mesh.ply",
    "colmap.zip",
    "colmap_text.zip",
    "splatting.zip",
    "transforms.json",
    "gaussianobject.zip",
    "instantsplat.zip",
    "trajectory.txt",
    "depth_png.zip",
    "depth.npz",
    "images.zip",
)
"""All that can be asked for."""
