"""Artefacts a job may ask for by name, and the files they become."""

from __future__ import annotations

OUTPUTS: dict[str, str] = {"ply": "scene.ply", "poses": "poses.json", "preview": "preview.png"}
"""Made always; naming them is allowed."""
