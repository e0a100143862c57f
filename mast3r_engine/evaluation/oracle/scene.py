"""Posed synthetic views of a room: exact cameras, depth and visibility."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.evaluation.oracle.room import Room, cast_rays, furnished_room

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OracleView:
    """One posed view; OpenCV axes, metres, pixel centres at integers."""

    cam2world: Floats  # (4, 4)
    K: Floats  # (3, 3)
    depth: Floats  # (H, W) z-depth

    @property
    def height(self) -> int:
        return int(self.depth.shape[0])

    @property
    def width(self) -> int:
        return int(self.depth.shape[1])

    def points(self) -> Floats:  # (H, W, 3) in the view's own camera frame
        """Exact point map."""
        return pixel_rays(self.K, self.height, self.width) * self.depth[..., None]

    def world_points(self) -> Floats:  # (H, W, 3)
        """Exact point map in the world."""
        return self.points() @ self.cam2world[:3, :3].T + self.cam2world[:3, 3]


@dataclass(frozen=True)
class OracleScene:
    """A room and the views of it."""

    room: Room
    views: tuple[OracleView, ...]

    def __len__(self) -> int:
        return len(self.views)


def make_scene(
    views: int = 10,
    height: int = 192,
    width: int = 256,
    *,
    seed: int = 0,
    arc_degrees: float = 90.0,
    sizes: Sequence[tuple[int, int]] | None = None,  # (height, width) per view; replaces height and width
) -> OracleScene:
    """Place cameras on an arc of about 2.2 m radius, looking at the furniture, each with a focal length of its own."""
    room = furnished_room(seed)
    shapes = list(sizes) if sizes is not None else [(height, width)] * views
    angles = np.radians(np.linspace(-arc_degrees / 2, arc_degrees / 2, len(shapes)) if len(shapes) > 1 else np.zeros(1))
    placed = []
    for index, ((h, w), angle) in enumerate(zip(shapes, angles, strict=True)):
        rng = np.random.default_rng([seed, 202, index])
        radius, level = 2.2 + rng.uniform(-0.4, 0.4), rng.uniform(-0.7, 0.1)
        centre = np.array([radius * np.sin(angle), level, -radius * np.cos(angle)])
        target = np.array([0.0, 0.2, 0.6]) + rng.uniform(-0.3, 0.3, 3)
        focal = max(h, w) * rng.uniform(0.75, 0.95)
        placed.append(render_view(room, look_at(centre, target, roll=rng.uniform(-0.1, 0.1)), focal, h, w))
    return OracleScene(room, tuple(placed))


def render_view(room: Room, cam2world: Floats, focal: float, height: int, width: int) -> OracleView:
    """Cast the rays of one pinhole camera whose principal point is the image's centre."""
    K = np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])
    directions = pixel_rays(K, height, width) @ cam2world[:3, :3].T
    return OracleView(cam2world, K, cast_rays(room, cam2world[:3, 3], directions))


def look_at(centre: Floats, target: Floats, roll: float = 0.0) -> Floats:  # (4, 4) cam2world
    """Pose of a camera at `centre` that looks at `target`, the world's y axis pointing down in the image."""
    forward = (target - centre) / np.linalg.norm(target - centre)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([c * right + s * down, c * down - s * right, forward], axis=1)
    pose[:3, 3] = centre
    return pose


def pixel_rays(K: Floats, height: int, width: int) -> Floats:  # (H, W, 3) with z = 1
    """Rays of all pixel centres."""
    x = (np.arange(width) - K[0, 2]) / K[0, 0]
    y = (np.arange(height) - K[1, 2]) / K[1, 1]
    return np.stack([*np.meshgrid(x, y), np.ones((height, width))], axis=-1)


def project(
    view: OracleView,
    world_points: Floats,  # (M, 3)
) -> tuple[Floats, Floats]:  # (M, 2) pixels, (M,) z-depth
    """Project world points into a view."""
    local = (world_points - view.cam2world[:3, 3]) @ view.cam2world[:3, :3]
    depth = local[:, 2]
    xy = local[:, :2] / np.maximum(depth, 1e-9)[:, None] * view.K[0, 0] + view.K[:2, 2]
    return xy, depth


def visible(
    view: OracleView,
    world_points: Floats,  # (M, 3)
    tolerance: float = 0.02,
) -> tuple[Floats, NDArray[np.bool_]]:  # (M, 2) pixels, (M,)
    """Project world points and say which of them the view really sees (inside, in front, not occluded)."""
    xy, depth = project(view, world_points)
    x, y = np.rint(xy).astype(np.int64).T
    inside = (depth > 1e-3) & (x >= 0) & (x < view.width) & (y >= 0) & (y < view.height)
    seen_depth = view.depth[np.clip(y, 0, view.height - 1), np.clip(x, 0, view.width - 1)]
    return xy, inside & (np.abs(depth - seen_depth) < tolerance * seen_depth)
