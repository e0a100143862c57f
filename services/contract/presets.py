"""Presets: named sets of options. What a job asks for itself goes over its preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.contract.jobs import Preset

PRESETS: dict[Preset, dict[str, Any]] = {
    "fast": {"max_image_size": 224, "refine": "none", "fusion": {"max_points": 300_000}},
    "balanced": {},
    "accurate": {"matching": {"subsample": 4}, "fusion": {"max_points": 3_000_000}},
}

SMALL_SIDE, SMALLEST_SIDE = 224, 112
SMALL = {"refine": "none", "fusion": {"max_points": 200_000}}


def apply_preset(preset: Preset, options: Mapping[str, Any]) -> dict[str, Any]:
    """Put a job's own options over those of its preset; whoever asks for a size gets it."""
    base = PRESETS[preset]
    if options.get("image_size") is not None:
        base = {name: value for name, value in base.items() if name != "max_image_size"}
    return merge(base, options)


def shrink(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that need less memory: tried once when memory did not suffice. Small images are halved."""
    sizes = [size for name in ("image_size", "max_image_size") if (size := options.get(name)) is not None]
    side = min(sizes, default=2 * SMALL_SIDE)
    return merge(options, {**SMALL, "max_image_size": SMALL_SIDE if side > SMALL_SIDE else max(SMALLEST_SIDE, side // 2)})


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Put nested values over others; lists are replaced whole."""
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = merge(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged
