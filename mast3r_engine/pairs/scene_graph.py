"""The text that names a pair graph, with the syntax that the published demos use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from mast3r_engine.errors import OptionsError

Kind = Literal["auto", "complete", "swin", "logwin", "oneref"]

SYNTAX = "auto, complete, swin[-W][-noncyclic], logwin[-W][-noncyclic], oneref[-R]"
DEFAULT_WINDOW = 3

_WINDOWED = re.compile(r"(swin|logwin)(?:-(\d{1,9}))?(-noncyclic)?", re.ASCII)
_ONEREF = re.compile(r"oneref(?:-(\d{1,9}))?", re.ASCII)


@dataclass(frozen=True)
class SceneGraph:
    """A parsed graph text.

    swin: each image with its next `window` neighbours. logwin: each image with those at distances 1, 2, 4, …,
    2^(window-1). oneref: one image, number `reference`, with all others. Cyclic: the last image is followed by the first.
    """

    kind: Kind
    window: int = DEFAULT_WINDOW
    cyclic: bool = True
    reference: int = 0

    def __str__(self) -> str:
        if self.kind in ("swin", "logwin"):
            return f"{self.kind}-{self.window}" + ("" if self.cyclic else "-noncyclic")
        return f"oneref-{self.reference}" if self.kind == "oneref" else self.kind


def parse_scene_graph(text: str) -> SceneGraph:
    """Read a graph text; OptionsError lists the syntax when it is not one."""
    if text == "auto":
        return SceneGraph("auto")
    if text == "complete":
        return SceneGraph("complete")
    if windowed := _WINDOWED.fullmatch(text):
        return _parse_windowed(text, windowed)
    if oneref := _ONEREF.fullmatch(text):
        return SceneGraph("oneref", reference=int(oneref[1] or 0))
    raise OptionsError(f"scene_graph is {text!r}; it must be one of: {SYNTAX}")


def _parse_windowed(text: str, match: re.Match[str]) -> SceneGraph:
    window = DEFAULT_WINDOW if match[2] is None else int(match[2])
    if window < 1:
        raise OptionsError(f"scene_graph is {text!r}: its window must be 1 or more")
    return SceneGraph("swin" if match[1] == "swin" else "logwin", window, cyclic=match[3] is None)
