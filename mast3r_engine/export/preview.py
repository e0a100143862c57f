"""preview.png: the cloud and the cameras of the largest component from two sides, drawn with matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.export.atomic import replace_when_done
from mast3r_engine.export.splat import splat_cloud
from mast3r_engine.export.viewpoint import Viewpoint, choose_viewpoint, scene_radius
from mast3r_engine.reconstruction import Reconstruction

PANEL_WIDTH, PANEL_HEIGHT, MARGIN = 800, 690, 55  # pixels; title above, notes below
BACKGROUND = (18, 21, 27)
SIDES = ((-35.0, 30.0), (40.0, 55.0))  # azimuth and elevation of the two pictures, degrees
MAX_NAMED = 5
MAX_LABELS = 20
MAX_WARNING = 60  # characters


def render_preview(scene: Reconstruction, path: Path) -> None:
    """Draw a picture of 1600 x 800 pixels; works with an empty cloud, one photograph or none registered."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = np.flatnonzero(scene.component == 0)
    mine = scene.point_component == 0
    size = (2 * PANEL_WIDTH, PANEL_HEIGHT + 2 * MARGIN)
    figure = Figure(figsize=(size[0] / 100, size[1] / 100), dpi=100, facecolor=_rgb(BACKGROUND))
    FigureCanvasAgg(figure)
    for side, (azimuth, elevation) in enumerate(SIDES):
        view = choose_viewpoint(scene.points[mine], scene.cam2world[shown], azimuth, elevation, PANEL_WIDTH, PANEL_HEIGHT)
        axes = figure.add_axes((side / 2, MARGIN / size[1], 0.5, PANEL_HEIGHT / size[1]))
        picture = splat_cloud(scene.points[mine], scene.colors[mine], scene.normals[mine], view, BACKGROUND)
        axes.imshow(picture, interpolation="none", extent=(0, PANEL_WIDTH, PANEL_HEIGHT, 0))
        _draw_cameras(axes, scene, shown, view, 0.05 * scene_radius(scene.points[mine], scene.cam2world[shown]))
        axes.set(xlim=(0, PANEL_WIDTH), ylim=(PANEL_HEIGHT, 0))
        axes.set_axis_off()
    if len(shown) == 0:
        figure.text(0.5, 0.5, "no photo could be registered", color="#b9bec8", fontsize=18, ha="center")
    figure.text(0.012, 0.965, _title(scene), color="#f2f3f5", fontsize=15, va="center", weight="bold")
    figure.text(0.012, 0.033, _notes(scene), color="#b9bec8", fontsize=10.5, va="center", linespacing=1.45)
    if scene.warnings:
        figure.text(0.988, 0.965, _shorten(scene.warnings[0]), color="#ff7a6b", fontsize=11, va="center", ha="right")
    with replace_when_done(path) as temporary:
        figure.savefig(temporary, format="png", facecolor=figure.get_facecolor(), metadata={"Software": "mast3r_engine"})


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_WARNING else text[: MAX_WARNING - 1] + "…"


def _draw_cameras(axes: Any, scene: Reconstruction, shown: NDArray[np.int64], view: Viewpoint, depth: float) -> None:
    """Draw each camera as a pyramid, coloured from first to last and numbered by its place in the list of photographs."""
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.patheffects import withStroke

    every = -(-len(shown) // MAX_LABELS)
    for place, i in enumerate(shown):
        colour = colormaps["plasma"](0.35 + 0.6 * place / max(len(shown) - 1, 1))
        corners, _ = view.project(_frustum(scene, int(i), depth))
        apex, base = corners[0], corners[1:]
        edges = [(apex, corner) for corner in base] + list(zip(base, np.roll(base, -1, axis=0)))
        axes.add_collection(LineCollection(edges, colors="black", linewidths=3.0, alpha=0.55, zorder=2))
        axes.add_collection(LineCollection(edges, colors=[colour], linewidths=1.5, zorder=3))
        if place % every == 0:
            halo = [withStroke(linewidth=2.5, foreground="black")]
            away = apex - base.mean(axis=0)
            at = apex + 11 * away / max(float(np.linalg.norm(away)), 1e-9)
            style = {"color": "white", "fontsize": 9.5, "weight": "bold", "ha": "center", "va": "center", "zorder": 4}
            axes.text(*at, str(i), path_effects=halo, clip_on=True, **style)


def _frustum(scene: Reconstruction, i: int, depth: float) -> NDArray[np.float64]:
    """Centre and the four corners of photograph i's image plane at `depth`, in the world, (5, 3)."""
    height, width = scene.depth[i].shape
    pixels = np.array([[-0.5, -0.5, 1], [width - 0.5, -0.5, 1], [width - 0.5, height - 0.5, 1], [-0.5, height - 0.5, 1]])
    rays = pixels @ np.linalg.inv(scene.network_intrinsics[i]).T
    in_camera = np.concatenate([np.zeros((1, 3)), depth * rays])
    pose = scene.cam2world[i]
    world: NDArray[np.float64] = in_camera @ pose[:3, :3].T + pose[:3, 3]
    return world


def _title(scene: Reconstruction) -> str:
    parts = [f"{int((scene.component >= 0).sum())} of {len(scene.names)} photos registered", f"{len(scene.points):,} points"]
    mine = scene.points[scene.point_component == 0]
    if scene.metric and len(mine):
        across = 2 * scene_radius(mine, scene.cam2world[scene.component == 0])
        parts.append(f"about {across:.3g} m across")
    parts.append("metric scale" if scene.metric else "scale unknown")
    components = int(scene.component.max(initial=-1)) + 1
    if components > 1:
        more = components - 1
        parts.append(f"largest component shown, {more} more")
    return "   ·   ".join(parts)


def _notes(scene: Reconstruction) -> str:
    lines = [
        "Cameras are numbered in the order of the photos, as in poses.json, and coloured from first (violet) to last (yellow)."
    ]
    if scene.unregistered:
        named = [_drawable(f"{name} ({reason})") for _, name, reason in scene.unregistered[:MAX_NAMED]]
        more = len(scene.unregistered) - MAX_NAMED
        text = "Not registered: " + ", ".join(named) + (f" and {more} more" if more > 0 else "")
        lines.append(text if len(text) <= 200 else text[:199] + "…")
    return "\n".join(lines).replace("$", r"\$")


def _drawable(text: str) -> str:
    """Put ? for characters that the font does not have; matplotlib would warn of them on stderr."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    return "".join(c if c.isprintable() and font.get_char_index(ord(c)) else "?" for c in text)


def _rgb(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = (channel / 255 for channel in colour)
    return red, green, blue
