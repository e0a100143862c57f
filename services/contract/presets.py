"""Presets: named sets of options. What a job asks for itself goes over its preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.contract.jobs import Preset

PRESETS: dict[Preset, dict[str, Any]] = {
    "fast": {"image_size": 224, "refine": "none", "fusion": {"max_points": 300_000}},
    "balanced": {},
    "accurate": {"matching": {"subsample": 4}, "fusion": {"max_points": 3_000_000}},
}

SMALL = {"image_size": 224, "refine": "none", "fusion": {"max_points": 200_000}}
SMALLEST_IMAGE = 112


def apply_preset(preset: Preset, options: Mapping[str, Any]) -> dict[str, Any]:
    """Put a job's own options over those of its preset."""
    return merge(PRESETS[preset], options)


def shrink(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that need less memory: tried once when memory did not suffice. Small images are halved."""
    size = options.get("image_size")
    smaller = SMALL if size is None or size > SMALL["image_size"] else {**SMALL, "image_size": max(SMALLEST_IMAGE, size // 2)}
    return merge(options, smaller)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Put nested values over others; lists are replaced whole."""
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = merge(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged
