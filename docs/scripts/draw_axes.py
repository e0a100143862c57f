"""Draw `docs/pictures/axes.png`: the world's and a camera's axes, a photograph's pixels, and original against network pixels.

    python docs/scripts/draw_axes.py [PATH]

What can be computed is: poses are matrices that points are carried with, pixels go through the engine's own maps.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mpl_toolkits.mplot3d import Axes3D
from numpy.typing import NDArray

from mast3r_engine.images import fit_to_network

Floats = NDArray[np.float64]
PICTURE = Path(__file__).resolve().parents[1] / "pictures" / "axes.png"
COLOURS = {"x": "#c62828", "y": "#2e7d32", "z": "#1565c0"}
GREY = "#546e7a"
SPOT = {"s": 44, "color": "black", "zorder": 5}


def main() -> None:
    """Write the picture."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    with mpl.rc_context({**mpl.rcParamsDefault, "font.size": 9}):
        figure = Figure(figsize=(11, 9.2), dpi=100, layout="constrained")
        draw_frames(figure.add_subplot(2, 2, 1, projection="3d"))
        draw_pixels(figure.add_subplot(2, 2, 2))
        draw_sizes(figure.add_subplot(2, 2, 3))
        draw_rotation(figure.add_subplot(2, 2, 4))
        figure.savefig(path, metadata={"Software": None})


def draw_frames(axes: Axes3D) -> None:
    """The first camera, which is the world, and a second one."""
    second = np.eye(4)
    angle = np.radians(-35)
    second[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    second[:3, 3] = [2.0, -0.3, 0.3]
    point = np.array([0.7, 0.1, 2.7])
    for name, cam2world in (("first photograph = world", np.eye(4)), ("second photograph", second)):
        _draw_camera(axes, cam2world)
        centre = cam2world[:3, 3]
        _line(axes, centre, point, color=GREY, linewidth=0.8, linestyle=":")
        _text(axes, centre + [0, 0.95, 0], name, color="black", ha="center")
    _scatter(axes, point)
    _text(axes, point + [0.08, 0.0, 0.15], "point", color="black")
    _line(axes, np.zeros(3), second[:3, 3], color="black", linewidth=1.2, linestyle="--")
    _text(axes, second[:3, 3] * 0.42 + [0, -0.18, 0], "cam2world", color="black", ha="center")
    axes.set(xlim=(-0.9, 2.9), ylim=(-0.1, 2.7), zlim=(-0.9, 0.7))
    axes.set_box_aspect((3.8, 2.8, 1.6), zoom=1.3)
    axes.view_init(elev=28, azim=-66)
    axes.set_axis_off()
    axes.set_title("Camera axes: x right, y down, z forward.\nX_world = cam2world · X_camera, in metres")


def _draw_camera(axes: Axes3D, cam2world: Floats) -> None:  # (4, 4)
    R, centre = cam2world[:3, :3], cam2world[:3, 3]
    corners = np.array([[-0.4, -0.3, 0.5], [0.4, -0.3, 0.5], [0.4, 0.3, 0.5], [-0.4, 0.3, 0.5]]) @ R.T + centre
    for k, corner in enumerate(corners):
        _line(axes, centre, corner, color=GREY, linewidth=0.9)
        _line(axes, corner, corners[(k + 1) % 4], color=GREY, linewidth=0.9)
    for column, (name, length) in enumerate({"x": 0.75, "y": 0.65, "z": 1.15}.items()):
        tip = centre + length * R[:, column]
        _line(axes, centre, tip, color=COLOURS[name], linewidth=2.6)
        _text(axes, tip + 0.1 * R[:, column], name, color=COLOURS[name], weight="bold", ha="center", va="center")


def _to_plot(xyz: Floats) -> Floats:
    """Our y points down and z into the scene; matplotlib's z points up: a rotation, so that no hand is changed."""
    x, y, z = xyz
    return np.array([x, z, -y])


def _line(axes: Axes3D, start: Floats, end: Floats, **style: object) -> None:
    axes.plot(*np.stack([_to_plot(start), _to_plot(end)], axis=1), **style)


def _text(axes: Axes3D, place: Floats, words: str, **style: object) -> None:
    axes.text(*_to_plot(place), words, **style)


def _scatter(axes: Axes3D, place: Floats) -> None:
    axes.scatter(*_to_plot(place)[:, None], color="black", s=30)


def draw_pixels(axes: Axes) -> None:
    """A photograph of 6 x 4 pixels, where its numbers lie."""
    width, height = 6, 4
    for x in range(width):
        for y in range(height):
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor="#eceff1", edgecolor="#90a4ae"))
            axes.scatter(x, y, s=6, color=GREY)
    axes.add_patch(Rectangle((-0.5, -0.5), 1, 1, facecolor="#ffe082", edgecolor="#90a4ae"))
    axes.scatter(0, 0, **SPOT)
    axes.annotate("(0, 0): centre\nof the top-left\npixel", (0, 0), (-2.4, 1.9), arrowprops={"arrowstyle": "->"})
    axes.scatter(-0.5, -0.5, **SPOT)
    axes.annotate(
        "(-0.5, -0.5): its corner;\nCOLMAP calls this (0, 0)", (-0.5, -0.5), (-2.4, -1.35), arrowprops={"arrowstyle": "->"}
    )
    middle = ((width - 1) / 2, (height - 1) / 2)
    axes.scatter(*middle, **SPOT)
    axes.annotate(
        "((W - 1) / 2, (H - 1) / 2): the middle,\nwhere cx, cy usually are", middle, (1.3, 4.25), arrowprops={"arrowstyle": "->"}
    )
    _arrow(axes, (3.0, -0.85), (5.3, -0.85), "x, column", COLOURS["x"], (0, -0.22))
    _arrow(axes, (5.85, 0.2), (5.85, 3.0), "y, row", COLOURS["y"], (0.12, 0))
    axes.set(xlim=(-2.5, 7.2), ylim=(4.9, -1.9), aspect="equal")
    axes.set_axis_off()
    axes.set_title("Pixels (x, y): centres at integers")


def draw_sizes(axes: Axes) -> None:
    """A square original, resized and cropped to whole patches; one pixel in both."""
    fit = fit_to_network("photograph", 3024, 3024, 512, 16)
    corners = np.array([[-0.5, -0.5], [fit.width - 0.5, fit.height - 0.5]])
    (left, top), (right, bottom) = fit.to_original(corners)
    axes.add_patch(Rectangle((-0.5, -0.5), 3024, 3024, facecolor="#eceff1", edgecolor=GREY, linewidth=1.5))
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, facecolor="#bbdefb", edgecolor=COLOURS["z"]))
    axes.text(1512, -60, "original, upright: 3024 x 3024", ha="center", color="black")
    axes.text(1512, bottom - 120, f"what the network sees: {fit.width} x {fit.height}", ha="center", color=COLOURS["z"])
    network = np.array([[100.0, 80.0], [240.0, 240.0]])
    for xy, (x, y) in zip(network, fit.to_original(network), strict=True):
        axes.scatter(x, y, **SPOT)
        axes.text(x + 60, y, f"network ({xy[0]:g}, {xy[1]:g})\noriginal ({x:.1f}, {y:.1f})", va="center")
    rule = f"original = (network + ({fit.left}, {fit.top}) + 0.5) · {fit.scale[0]:.4g} - 0.5"
    axes.text(1512, 3260, rule, ha="center", color="black")
    axes.set(xlim=(-500, 3500), ylim=(3400, -300), aspect="equal")
    axes.set_axis_off()
    axes.set_title("K in original pixels;\nnetwork_intrinsics, depth and confidence in network pixels")


def draw_rotation(axes: Axes) -> None:
    """A portrait as the sensor stored it, and upright."""
    _draw_house(axes, (0.4, 0.9), (4, 3), quarter_turns=1)
    axes.text(2.4, 4.25, "as stored: 4032 x 3024\nEXIF orientation 6", ha="center", va="top")
    _arrow(axes, (4.7, 2.4), (5.9, 2.4), "turned", "black", (0, -0.2))
    _draw_house(axes, (6.2, 0.4), (3, 4), quarter_turns=0)
    axes.text(7.7, 4.75, "upright: 3024 x 4032", ha="center", va="top")
    axes.set(xlim=(0, 9.8), ylim=(5.3, -0.2), aspect="equal")
    axes.set_axis_off()
    axes.set_title("EXIF rotation comes first:\nK, masks, depth maps and priors are about the upright photograph")


def _draw_house(axes: Axes, corner: tuple[float, float], size: tuple[float, float], quarter_turns: int) -> None:
    """A frame with a house in it; turned to the left as a sensor stores what is upright after a turn to the right."""
    axes.add_patch(Rectangle(corner, *size, facecolor="#eceff1", edgecolor=GREY, linewidth=1.5))
    house = np.array([[-0.8, 1.5], [-0.8, 0.1], [0, -0.8], [0.8, 0.1], [0.8, 1.5], [-0.8, 1.5]])
    turned = house if quarter_turns == 0 else np.stack([house[:, 1], -house[:, 0]], axis=1)
    centre = np.array(corner) + np.array(size) / 2
    axes.plot(*(turned + centre).T, color="#6d4c41", linewidth=2)
    axes.scatter(*corner, **SPOT)
    axes.text(corner[0] + 0.1, corner[1] + 0.1, "(-0.5, -0.5)", va="top")


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], words: str, colour: str, shift: tuple[float, float]
) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 2})
    middle = (start[0] + end[0]) / 2 + shift[0], (start[1] + end[1]) / 2 + shift[1]
    axes.text(*middle, words, color=colour, ha="center" if shift[0] == 0 else "left", va="center")


if __name__ == "__main__":
    main()
