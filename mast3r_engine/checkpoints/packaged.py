"""Checkpoints that lie in the package, by name."""

from __future__ import annotations

from pathlib import Path

PACKAGED = Path(__file__).parent / "packaged"


def packaged_names() -> list[str]:
    """The names that `load_network` knows by itself."""
    return sorted(config.parent.name for config in PACKAGED.glob("*/config.json"))


def find_packaged(name: str | None = None) -> Path | None:
    """The folder of a packaged checkpoint: the one of that name, or the first; None if there is none."""
    names = packaged_names()
    if name is None:
        return PACKAGED / names[0] if names else None
    return PACKAGED / name if name in names else None
