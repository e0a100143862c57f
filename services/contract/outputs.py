"""Artefacts a job may ask for, by file name."""

from __future__ import annotations

ALWAYS: tuple[str, ...] = ("scene.ply", "poses.json", "preview.png")
"""Made for every job; naming them is allowed."""

OUTPUTS: tuple[str, ...] = ALWAYS
"""All that can be asked for."""
