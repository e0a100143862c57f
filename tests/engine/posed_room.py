"""A room with a ball, ray-cast: exact depths and colours from posed cameras, for tests of fusion and export."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.reconstruction import Alignment, PairStats

ROOM = np.array([[-3.0, -1.4, -2.5], [3.0, 1.2, 2.5]])  # metres; y down
BALL, RADIUS = np.array([0.3, 0.6, 0.4]), 0.6


def look_at(eye: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """cam2world, OpenCV axes, y down in the world too."""
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3, :3] = np.stack((x, np.cross(z, x), z), axis=1)
    pose[:3, 3] = eye
    return pose


def orbit(n: int) -> NDArray[np.float64]:
    """`n` cameras on an arc through the room, looking at the ball."""
    angles = np.linspace(-0.9, 0.9, n)
    eyes = np.stack((2.2 * np.sin(angles), -0.3 + 0.2 * np.cos(3 * angles), -2.0 * np.cos(angles)), axis=1)
    return np.stack([look_at(eye, BALL) for eye in eyes])


def render(
    cam2world: NDArray[np.float64],  # (4, 4)
    K: NDArray[np.float64],  # (3, 3)
    H: int,
    W: int,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Depth (H, W) and colours (H, W, 3) by analytic ray casting."""
    v, u = np.mgrid[:H, :W].astype(np.float64)
    rays = np.stack(((u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)), axis=-1) @ cam2world[:3, :3].T
    eye = cam2world[:3, 3]
    with np.errstate(divide="ignore"):
        wall = np.where(rays > 0, (ROOM[1] - eye) / rays, (ROOM[0] - eye) / rays).min(axis=-1)
    a, b, c = (rays**2).sum(-1), rays @ (eye - BALL), ((eye - BALL) ** 2).sum() - RADIUS**2
    root = b**2 - a * c
    ball = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    on_ball = (ball > 0) & (ball < wall)
    depth = np.where(on_ball, ball, wall)
    points = eye + depth[..., None] * rays
    checks = 0.8 + 0.2 * (np.floor(points * 2).astype(int).sum(-1) % 2)
    walls = np.stack([0.5 + 0.1 * points[..., 0], 0.45 + 0.12 * points[..., 1], 0.55 - 0.1 * points[..., 2]], axis=-1)
    colours = np.where(on_ball[..., None], [0.9, 0.35, 0.2], walls) * checks[..., None]
    return depth.astype(np.float32), (np.clip(colours, 0, 1) * 255).astype(np.uint8)


def room_scene(n: int = 4, H: int = 72, W: int = 96, noise: float = 0.0) -> tuple[Alignment, list[NDArray[np.uint8]]]:
    """An alignment as global alignment would hand it over, all pairs holding, with its images."""
    K = np.array([[0.8 * W, 0, (W - 1) / 2], [0, 0.8 * W, (H - 1) / 2], [0, 0, 1.0]])
    poses = orbit(n)
    rendered = [render(pose, K, H, W) for pose in poses]
    rng = np.random.default_rng(5)
    waves = [_low_frequency(rng, H, W) for _ in range(n)]
    first = np.linalg.inv(poses[0])
    return Alignment(
        cam2world=np.stack([first @ pose for pose in poses]),
        component=np.zeros(n, np.int64),
        unregistered=[],
        intrinsics=np.stack([K] * n),
        depth=[(depth * (1 + noise * wave)).astype(np.float32) for (depth, _), wave in zip(rendered, waves)],
        confidence=[np.full((H, W), 5.0, np.float32) for _ in range(n)],
        pairs=[PairStats(i, j, 200, 180) for i in range(n) for j in range(i + 1, n)],
    ), [image for _, image in rendered]


def to_room(points: NDArray[np.floating], n: int) -> NDArray[np.float64]:
    """Points of a scene made by `room_scene(n)` in the room's own frame."""
    pose = orbit(n)[0]
    return np.asarray(points, np.float64) @ pose[:3, :3].T + pose[:3, 3]


def distance_to_surface(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of points in the room's frame to the nearest wall or the ball."""
    walls = np.minimum(np.abs(points - ROOM[0]), np.abs(points - ROOM[1])).min(axis=-1)
    return np.minimum(walls, np.abs(np.linalg.norm(points - BALL, axis=-1) - RADIUS))


def _low_frequency(rng: np.random.Generator, H: int, W: int) -> NDArray[np.float64]:
    v, u = np.mgrid[:H, :W]
    kx, ky, phase = rng.uniform(1, 3), rng.uniform(1, 3), rng.uniform(0, 6)
    return np.sqrt(2) * np.sin(2 * np.pi * (kx * u / W + ky * v / H) + phase)
